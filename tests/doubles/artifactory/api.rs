//! Below `/artifactory/api`: health, version, repositories, storage and the way of docker.

use axum::extract::State as Of;
use axum::http::{HeaderMap, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::refusal::Refusal;
use super::who::Caller;
use super::{Held, State};

type Answer<T = Json<Value>> = Result<T, Refusal>;

pub fn routes() -> Router<Held> {
    Router::new()
        .route("/artifactory/api/system/ping", get(ping))
        .route("/artifactory/api/system/version", get(version))
        .route("/artifactory/api/repositories", get(repositories))
        .route("/artifactory/api/storageinfo", get(storage))
        .route("/artifactory/api/system/configuration/webServer", get(web_server))
}

impl State {
    fn known(&mut self, headers: &HeaderMap) -> Answer<Caller> {
        self.directory.caller(headers)?.ok_or_else(|| Refusal::unauthorized("Authentication is required"))
    }

    fn admin(&mut self, headers: &HeaderMap) -> Answer<Caller> {
        let caller = self.known(headers)?;
        if caller.is_admin() { Ok(caller) } else { Err(Refusal::forbidden()) }
    }
}

/// For everybody, but not with a wrong password.
async fn ping(Of(state): Of<Held>, headers: HeaderMap) -> Answer<&'static str> {
    state.lock().unwrap().directory.caller(&headers)?;
    Ok("OK")
}

async fn version(Of(state): Of<Held>, headers: HeaderMap) -> Answer {
    let mut state = state.lock().unwrap();
    state.known(&headers)?;
    let version = state.options.version;
    Ok(Json(json!({"version": version, "revision": "77700900", "addons": ["docker"], "license": "0123"})))
}

/// What the caller may read, of one type of package if the query says so.
async fn repositories(Of(state): Of<Held>, headers: HeaderMap, uri: Uri) -> Answer {
    let mut state = state.lock().unwrap();
    let caller = state.known(&headers)?;
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let wanted = pairs.find(|(name, _)| name == "packageType").map(|(_, wanted)| wanted.to_lowercase());
    let shown = state
        .repositories
        .iter()
        .filter(|(key, _)| state.directory.may(&caller, key, false))
        .filter(|(_, repository)| wanted.as_ref().is_none_or(|w| *w == repository.package.to_lowercase()))
        .map(|(key, repository)| {
            json!({"key": key, "type": repository.kind, "packageType": repository.package,
                "url": format!("{}/artifactory/{key}", state.url)})
        });
    Ok(Json(shown.collect()))
}

/// Figures as texts for people; the last row is the sum of the others.
async fn storage(Of(state): Of<Held>, headers: HeaderMap) -> Answer {
    let mut state = state.lock().unwrap();
    state.admin(&headers)?;
    let in_bytes = state.options.used_space_in_bytes;
    let row = |key: &str, kind: &str, package: Option<&str>, used: u64| {
        let mut row = json!({"repoKey": key, "repoType": kind, "foldersCount": 3, "filesCount": 5, "itemsCount": 8,
            "usedSpace": for_people(used)});
        if let Some(package) = package {
            row["packageType"] = json!(package);
            row["percentage"] = json!("50%");
        }
        if in_bytes {
            row["usedSpaceInBytes"] = json!(used);
        }
        row
    };
    let mut rows: Vec<_> =
        state.repositories.iter().map(|(key, r)| row(key, r.kind, Some(r.package), r.used)).collect();
    let used: u64 = state.repositories.values().map(|repository| repository.used).sum();
    rows.push(row("TOTAL", "NA", None, used));
    Ok(Json(json!({
        "binariesSummary": {"binariesCount": "125,726", "binariesSize": for_people(used)},
        "fileStoreSummary": {"storageType": "filesystem", "totalSpace": "204.28 GB",
            "usedSpace": "32.22 GB (15.77%)", "freeSpace": "172.06 GB (84.23%)"},
        "repositoriesSummaryList": rows,
    })))
}

async fn web_server(Of(state): Of<Held>, headers: HeaderMap) -> Answer {
    let mut state = state.lock().unwrap();
    state.admin(&headers)?;
    let method = state.docker_method.ok_or_else(|| Refusal::new(404, "Not available in the cloud"))?;
    let ports: Vec<_> = state.ports.iter().map(|(key, port)| json!({"repoRef": key, "port": port})).collect();
    Ok(Json(
        json!({"key": "nginx", "reverseProxyRepositories": {"reverseProxyRepoConfigs": ports}, "webServerType": "NGINX", "artifactoryAppContext": "artifactory",
        "serverName": state.url.split("://").last(), "dockerReverseProxyMethod": method, "useHttps": true}),
    ))
}

fn for_people(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut figure = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap();
    while let (true, Some(next)) = (figure >= 1024.0, units.as_slice().first()) {
        figure /= 1024.0;
        unit = next;
        units.next();
    }
    format!("{figure:.2} {unit}")
}
