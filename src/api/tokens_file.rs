//! The tokens file on disk: made on first start where none is given, read again when its content changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

use super::tokens::{Tokens, TokensError};
use crate::hex::hex;
use crate::secret_file;

/// Why there are no tokens to serve the API with.
#[derive(Debug, thiserror::Error)]
pub enum TokensFileError {
    #[error("cannot read or make {}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("{}: {cause}", path.display())]
    Content { path: PathBuf, cause: TokensError },
}

/// A tokens file that is being served.
#[derive(Debug)]
pub struct TokensFile {
    path: PathBuf,
    text: String,
    /// What the API looks tokens up in.
    pub tokens: Arc<ArcSwap<Tokens>>,
}

impl TokensFile {
    /// Reads a tokens file.
    ///
    /// # Errors
    /// It cannot be read, or an entry is wrong.
    pub fn load(path: PathBuf) -> Result<Self, TokensFileError> {
        let text =
            fs::read_to_string(&path).map_err(|cause| TokensFileError::File { path: path.clone(), cause })?;
        let tokens =
            Tokens::parse(&text).map_err(|cause| TokensFileError::Content { path: path.clone(), cause })?;
        Ok(Self { path, text, tokens: Arc::new(ArcSwap::from_pointee(tokens)) })
    }

    /// The tokens file of a data directory: one Admin who may see passwords, whose token lies beside it in `admin-token`, both readable
    /// by their owner alone. Made where it is missing.
    ///
    /// # Errors
    /// Those of [`Self::load`], and that the files cannot be written.
    pub fn load_or_make(directory: &Path) -> Result<Self, TokensFileError> {
        let (path, token) = (directory.join("tokens.json"), directory.join("admin-token"));
        let fault = |path: &Path| {
            let path = path.to_owned();
            move |cause| TokensFileError::File { path, cause }
        };
        if !secret_file::exists(&path).map_err(fault(&path))? {
            make(&token, &path).map_err(fault(&path))?;
        }
        for file in [&path, &token] {
            secret_file::close_to_others(file).map_err(fault(file))?;
        }
        Self::load(path)
    }

    /// Reads the file again for ever, by content, since its mount may be swapped as a whole. What is wrong with it
    /// is said once, and the last good tokens stay.
    pub async fn keep_fresh(mut self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let found = tokio::fs::read_to_string(&self.path).await.unwrap_or_default();
            if found == self.text {
                continue;
            }
            match Tokens::parse(&found) {
                Ok(tokens) => {
                    self.tokens.store(Arc::new(tokens));
                    tracing::info!(path = %self.path.display(), "the tokens file was read again");
                }
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "the last good tokens stay in force");
                }
            }
            self.text = found;
        }
    }
}

fn make(token_file: &Path, path: &Path) -> io::Result<()> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| io::Error::other("no random numbers"))?;
    let token = hex(&secret);
    let sha256 = hex(digest(&SHA256, token.as_bytes()).as_ref());
    // The token first: a tokens file whose token nobody knows would be of no use.
    secret_file::replace(token_file, format!("{token}\n").as_bytes())?;
    let file =
        serde_json::json!({"tokens": [{"name": "admin", "sha256": sha256, "role": "Admin", "reveal": true}]});
    secret_file::replace(path, format!("{file:#}\n").as_bytes())
}
