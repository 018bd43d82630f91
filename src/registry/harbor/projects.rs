//! A Harbor's projects: how they are listed, made and made public, and what they hold.

use std::cmp::Reverse;

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Harbor;
use crate::domain::record::{Name, Visibility, is_project_name};
use crate::registry::fault::Fault;
use crate::registry::http::{CALLS, Call, Login};
use crate::registry::{AccountRole, Found, OnProgress, Usage};

/// Projects of a page; Harbor refuses more with 422.
const PAGE: usize = 100;
/// The role that may do everything in a project (src/common/const.go).
const PROJECT_ADMIN: i64 = 1;
/// Projects that are read at the most. A tenant's Harbor may say that it has any number.
const MOST: usize = 100_000;
/// Projects whose summaries are asked for where nobody may ask for all quotas at once.
const SUMMARIES: usize = 50;

#[derive(Deserialize)]
struct Project {
    #[serde(rename = "project_id")]
    id: i64,
    name: Name,
    /// Above 0: a cache of another registry.
    registry_id: Option<i64>,
    repo_count: Option<i64>,
    #[serde(default)]
    metadata: Metadata,
    /// Of whoever asks, by roles in the project; Harbor leaves out an empty list.
    current_user_role_ids: Option<Vec<i64>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    /// A text. Anything but "true" is private: public only from a positive answer.
    #[serde(default)]
    public: Value,
}

#[derive(Deserialize)]
struct Quota {
    r#ref: Option<Reference>,
    used: Option<Resources>,
}

#[derive(Deserialize)]
struct Reference {
    id: i64,
}

#[derive(Deserialize)]
struct Resources {
    storage: Option<i64>,
}

#[derive(Deserialize)]
struct Summary {
    /// Absent where quotas are switched off.
    quota: Option<SummaryQuota>,
}

#[derive(Deserialize)]
struct SummaryQuota {
    used: Option<Resources>,
}

#[derive(Deserialize)]
struct Statistics {
    /// From version 2.3 on.
    total_storage_consumption: Option<i64>,
}

impl From<Project> for Found {
    fn from(project: Project) -> Self {
        let public = project.metadata.public == "true";
        Self {
            path: project.name,
            id: Some(project.id),
            visibility: Some(if public { Visibility::Public } else { Visibility::Private }),
            repositories: project.repo_count,
            proxy_cache: project.registry_id.is_some_and(|id| id > 0),
        }
    }
}

impl Harbor {
    /// Every project that the account sees, each once. `progress` hears how many were read, of how many.
    ///
    /// # Errors
    /// A page could not be read; a part of the list is no list.
    pub(super) async fn projects(&self, progress: OnProgress<'_>) -> Result<Vec<Found>, Fault> {
        self.listed(&[("with_detail", "true")], Login::Own, progress).await
    }

    /// All pages of the projects that a query lists.
    pub(super) async fn listed(
        &self,
        query: &[(&str, &str)],
        login: Login,
        progress: OnProgress<'_>,
    ) -> Result<Vec<Found>, Fault> {
        let (mut found, total) = self.page(query, 1, PAGE, login.clone()).await?;
        if total > MOST {
            return Err(Fault::TooMany(MOST, "projects"));
        }
        progress(found.len(), total);
        // Harbor counts, and pages are asked for by number: `Link` is relative and unescaped.
        let pages =
            stream::iter(2..=total.div_ceil(PAGE)).map(|page| self.page(query, page, PAGE, login.clone()));
        let pages = pages.buffered(CALLS);
        let mut pages = std::pin::pin!(pages);
        while let Some((more, _)) = pages.try_next().await? {
            found.extend(more);
            progress(found.len(), total);
        }
        Ok(each_once(found))
    }

    /// One page of the projects that a query lists, and how many there are in all.
    pub(super) async fn page(
        &self,
        query: &[(&str, &str)],
        page: usize,
        size: usize,
        login: Login,
    ) -> Result<(Vec<Found>, usize), Fault> {
        let (page, text) = (page.to_string(), size.to_string());
        let query = [query, &[("page", page.as_str()), ("page_size", text.as_str())]].concat();
        let answer =
            self.succeed(self.get("/projects", &query).login(login.clone()), "list projects").await?;
        let projects: Vec<Project> = answer.json("projects")?;
        let total = answer.number("x-total-count").ok_or(Fault::Malformed("projects"))?;
        if projects.len() > size {
            return Err(Fault::Malformed("projects"));
        }
        if !matches!(login, Login::Anonymous) {
            let mut administered = self.administered();
            for project in &projects {
                let roles = project.current_user_role_ids.as_deref().unwrap_or_default();
                if roles.contains(&PROJECT_ADMIN) {
                    administered.insert(project.id);
                } else {
                    administered.remove(&project.id);
                }
            }
        }
        Ok((projects.into_iter().map(Found::from).collect(), total))
    }

    /// One project; `None` where Harbor says that there is none of that name.
    ///
    /// # Errors
    /// Harbor does not say whether there is one.
    pub async fn space(&self, path: &str) -> Result<Option<Found>, Fault> {
        let exists = self.request(Method::HEAD, "/projects", &[("project_name", path)]).login(Login::Own);
        match self.http.call(exists).await?.status {
            StatusCode::NOT_FOUND => return Ok(None),
            // Whether there is one, whoever is logged in is told, also of one that is not for them.
            StatusCode::UNAUTHORIZED => return Err(self.refused()),
            StatusCode::FORBIDDEN => return Err(self.not_permitted("see the project".into())),
            status if status.is_success() => {}
            status => return Err(Fault::Rejected(status.as_u16())),
        }
        match self
            .read::<Project>(by_name(self.get(&format!("/projects/{path}"), &[])), "see the project")
            .await
        {
            Ok(project) => Ok(Some(project.into())),
            // Deleted between the two.
            Err(Fault::NotFound) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A project's number.
    ///
    /// # Errors
    /// [`Fault::NotFound`], and [`Fault::NotPermitted`] where only a system admin would be told that.
    pub(super) async fn project_id(&self, path: &str) -> Result<i64, Fault> {
        #[derive(Deserialize)]
        struct Numbered {
            project_id: i64,
        }
        let call = by_name(self.get(&format!("/projects/{path}"), &[]));
        let Numbered { project_id } = self.read(call, "see the project").await?;
        Ok(project_id)
    }

    /// Makes a project.
    ///
    /// # Errors
    /// [`Fault::Conflict`] where there is one of that name.
    pub async fn create(&self, path: &str, visibility: Visibility) -> Result<(), Fault> {
        let mut body = json!({"project_name": path, "storage_limit": -1});
        body["metadata"] = metadata(visibility);
        self.own(self.request(Method::POST, "/projects", &[]).body(body), "make projects").await.map(drop)
    }

    /// Sets a project's own flag; the rest of its metadata stays.
    ///
    /// # Errors
    /// The flag is as it was, or whether it changed is not known.
    pub async fn set_visibility(&self, path: &str, visibility: Visibility) -> Result<(), Fault> {
        let call = by_name(self.request(Method::PUT, &format!("/projects/{path}"), &[]));
        let call = call.body(json!({"metadata": metadata(visibility)}));
        self.own(call, "make projects public or private").await.map(drop)
    }

    /// Bytes in all and by project, as far as the account is told.
    ///
    /// # Errors
    /// It was not answered.
    pub(super) async fn used(&self, tier: AccountRole, known: &[Found]) -> Result<Usage, Fault> {
        let mut usage = Usage::default();
        match tier {
            AccountRole::SystemAdmin => {
                let statistics: Statistics =
                    self.read(self.get("/statistics", &[]), "read statistics").await?;
                usage.storage = statistics.total_storage_consumption;
            }
            AccountRole::Robot(rights) if rights.reads_quotas() => {}
            _ => return self.summaries(known).await,
        }
        let pages = 1..=known.len().div_ceil(PAGE).max(1);
        let mut pages = stream::iter(pages).map(|page| self.quotas(page)).buffered(CALLS);
        while let Some(quotas) = pages.try_next().await? {
            usage.by_space.extend(quotas.into_iter().filter_map(|q| Some((q.r#ref?.id, q.used?.storage?))));
        }
        if tier != AccountRole::SystemAdmin {
            // A sum that lacks some would be no total.
            usage.storage = known.iter().map(|space| usage.by_space.get(&space.id?)).sum();
        }
        Ok(usage)
    }

    /// One for each project.
    async fn quotas(&self, page: usize) -> Result<Vec<Quota>, Fault> {
        let (page, size) = (page.to_string(), PAGE.to_string());
        let query = [("reference", "project"), ("page", page.as_str()), ("page_size", size.as_str())];
        self.read(self.get("/quotas", &query), "read quotas").await
    }

    /// What an account is told that is no system admin: a project at a time, and of many none.
    async fn summaries(&self, known: &[Found]) -> Result<Usage, Fault> {
        if known.len() > SUMMARIES {
            return Ok(Usage::default());
        }
        let calls = known.iter().map(|space| {
            let path = format!("/projects/{}/summary", space.path);
            (space.id, by_name(self.get(&path, &[])))
        });
        let calls: Vec<(Option<i64>, Call)> = calls.collect();
        let summaries = stream::iter(calls).map(|(id, call)| async move {
            match self.read::<Summary>(call, "read summaries").await {
                Ok(summary) => Ok((|| Some((id?, summary.quota?.used?.storage?)))()),
                Err(Fault::NotPermitted(_) | Fault::NotFound) => Ok(None),
                Err(fault) => Err(fault),
            }
        });
        let read: Vec<Option<(i64, i64)>> = summaries.buffered(CALLS).try_collect().await?;
        // A sum that lacks some would be no total.
        let storage = read.iter().map(|entry| entry.map(|(_, bytes)| bytes)).sum();
        Ok(Usage { storage, by_space: read.into_iter().flatten().collect(), ..Usage::default() })
    }
}

/// What is made, deleted or changed meanwhile moves others from page to page, so one may come twice: made anew, or as it was
/// before it became private. One that was missed is not gone, see the module above.
fn each_once(mut found: Vec<Found>) -> Vec<Found> {
    let newest_and_private_first =
        |found: &Found| (Reverse(found.id), found.visibility == Some(Visibility::Public));
    found.sort_unstable_by(|one, other| {
        one.path
            .cmp(&other.path)
            .then_with(|| newest_and_private_first(one).cmp(&newest_and_private_first(other)))
    });
    found.dedup_by(|next, kept| next.path == kept.path);
    // One that no record could name.
    found.retain(|found| is_project_name(&found.path));
    found
}

/// A name of digits alone would be taken for a number.
fn by_name(call: Call) -> Call {
    call.header("x-is-resource-name", "true")
}

/// Booleans are texts here.
fn metadata(visibility: Visibility) -> Value {
    json!({"public": if visibility == Visibility::Public { "true" } else { "false" }})
}

#[cfg(test)]
mod tests {
    use super::Visibility::{Private, Public};
    use super::*;

    #[test]
    fn of_what_comes_twice_the_newest_counts_and_of_that_what_is_private() {
        let found = |path: &str, id, visibility| Found {
            path: path.into(),
            id: Some(id),
            visibility: Some(visibility),
            repositories: None,
            proxy_cache: false,
        };
        let twice = vec![
            found("made-anew", 1, Public),
            found("flipped", 2, Public),
            found("No Name", 3, Public),
            found("flipped", 2, Private),
            found("made-anew", 9, Private),
            found("once", 4, Public),
        ];
        let mut backwards = twice.clone();
        backwards.reverse();
        let expected =
            [found("flipped", 2, Private), found("made-anew", 9, Private), found("once", 4, Public)];
        assert_eq!(each_once(twice), expected);
        assert_eq!(each_once(backwards), expected);
    }
}
