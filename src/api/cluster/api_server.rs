//! `TokenReview` and `SubjectAccessReview` of the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::{Reviews, Unanswered, User};
use crate::api::auth::Permission;
use crate::types::crd::{GROUP, VERSION};

/// How long an answer may take, waiting for a turn included.
const TIME: Duration = Duration::from_secs(5);
/// Questions that are open at one time: a flood of tokens is not passed on to the API server.
const OPEN_MAX: usize = 32;

/// The API server of the cluster that a client talks to.
pub struct ApiServer {
    client: Client,
    /// What a token must be meant for; none: the API server itself.
    audiences: Vec<String>,
    open: Semaphore,
}

impl ApiServer {
    /// Takes tokens for any of `audiences`, and without any those for the API server.
    pub fn new(client: Client, audiences: Vec<String>) -> Self {
        Self { client, audiences, open: Semaphore::new(OPEN_MAX) }
    }

    async fn ask<K>(&self, question: K) -> Result<K, Unanswered>
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let asked = async {
            let _place = self.open.acquire().await;
            Api::all(self.client.clone()).create(&PostParams::default(), &question).await
        };
        let kind = K::kind(&());
        match tokio::time::timeout(TIME, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => {
                let message = &status.message;
                Err(Unanswered(format!("the API server refused a {kind}: {message} ({})", status.code)))
            }
            Ok(Err(error)) => Err(Unanswered(format!("the API server did not answer a {kind}: {error}"))),
            Err(_) => {
                Err(Unanswered(format!("the API server did not answer a {kind} within {} s", TIME.as_secs())))
            }
        }
    }
}

#[async_trait]
impl Reviews for ApiServer {
    async fn user(&self, token: &str) -> Result<Option<User>, Unanswered> {
        let audiences = (!self.audiences.is_empty()).then(|| self.audiences.clone());
        let spec = TokenReviewSpec { audiences, token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = self.ask(review).await?.status;
        let status = status.ok_or_else(|| Unanswered("a TokenReview came back without status".to_owned()))?;
        if status.authenticated != Some(true) {
            // Its error is what is wrong with the token: forged, expired, revoked. A failed review is no answer at all.
            tracing::debug!(error = status.error.as_deref(), "a token is nobody's");
            return Ok(None);
        }
        // An API server that knows nothing of audiences names none: then the token is for itself.
        let meant = status.audiences.unwrap_or_default();
        if !self.audiences.is_empty() && !self.audiences.iter().any(|audience| meant.contains(audience)) {
            return Ok(None);
        }
        let user = status.user.unwrap_or_default();
        Ok(user.username.filter(|name| !name.is_empty()).map(|name| User {
            name,
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
        }))
    }

    async fn allows(&self, user: &User, permission: &Permission) -> Result<bool, Unanswered> {
        let (resource, subresource) = permission.target.resource();
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            version: Some(VERSION.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            verb: Some(permission.verb.as_str().to_owned()),
            name: permission.name.as_ref().map(ToString::to_string),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let status = self.ask(review).await?.status;
        let status =
            status.ok_or_else(|| Unanswered("a SubjectAccessReview came back without status".to_owned()))?;
        // A rule that could not be evaluated allows nothing, and others may have allowed it.
        Ok(status.allowed && status.denied != Some(true))
    }
}
