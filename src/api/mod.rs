//! The management API: registries, spaces, workspaces and policies, who may pull what, and why.
//!
//! Owns the wire form, the roles and the order of writes. It decides nothing (that is [`crate::domain`]), stores
//! nothing itself ([`RecordStore`]) and never shows a password, but for pull secrets to whom it is granted.

mod audit;
pub mod auth;
mod bindings;
mod call;
pub mod cluster;
mod credentials;
pub mod error;
mod explain;
mod leftovers;
mod manifest;
mod namespaces;
mod overview;
pub mod page;
mod requests;
mod resources;
mod routes;
pub mod tokens;
pub mod tokens_file;
mod writer;

use std::sync::{Arc, LazyLock};

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::Value;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa::openapi::schema::Type;

use auth::Authority;
use error::ApiError;
use explain::{ExplainAnswer, ExplainRequest};
use manifest::{Incoming, Manifest};
use namespaces::{NamespaceAccess, PullSecret};
use resources::{RESOURCES, Resource};
use routes::{Operation, Routes, Shape};
use writer::Unseen;

use crate::domain::record::Kind;
use crate::metrics::Metrics;
use crate::registry::metadata::Metadata;
use crate::room::Room;
use crate::state::State;
use crate::store::RecordStore;
use crate::types::v1alpha1::{PullPolicySpec, RegistrySpec, SpaceSpec, WorkspaceSpec};

/// What the API serves from.
pub struct ApiState {
    store: Arc<dyn RecordStore>,
    /// What the webhooks decide with.
    state: State,
    authority: Authority,
    metadata: Arc<Metadata>,
    /// Writes go one after the other. Reads take no lock.
    unseen: Mutex<Option<Unseen>>,
    room: Arc<Room>,
}

impl ApiState {
    /// `state` follows `store`.
    pub fn new(
        store: Arc<dyn RecordStore>,
        state: State,
        authority: Authority,
        metadata: Arc<Metadata>,
    ) -> Self {
        let (unseen, room) = (Mutex::default(), Arc::default());
        Self { store, state, authority, metadata, unseen, room }
    }

    /// Bodies take their room where those of others do.
    #[must_use]
    pub fn with_room(self, room: Arc<Room>) -> Self {
        Self { room, ..self }
    }
}

/// The API's routes; TLS and sockets are for the caller.
pub fn router(state: ApiState, metrics: Arc<Metrics>) -> Router {
    declare()
        .into_router()
        .fallback(|| async {
            ApiError::NotFound("there is nothing here; see /api/v1/openapi.json".to_owned())
        })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(middleware::map_response(guard))
        .layer(middleware::from_fn_with_state(metrics, count))
        .with_state(Arc::new(state))
}

/// The API's description, `OpenAPI` 3.1.
pub fn openapi() -> OpenApi {
    declare().into_document()
}

async fn count(Shared(metrics): Shared<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    metrics.api.answered(method.as_str(), response.status().as_str());
    response
}

/// Nobody keeps or reinterprets an answer.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn declare() -> Routes {
    let mut routes = Routes::new();
    for resource in RESOURCES {
        routes = match resource.kind {
            Kind::Registry => records::<RegistrySpec>(routes, resource),
            Kind::RegistrySpace => records::<SpaceSpec>(routes, resource),
            Kind::Workspace => records::<WorkspaceSpec>(routes, resource),
            Kind::PullPolicy => records::<PullPolicySpec>(routes, resource),
        };
    }
    questions(about_registries(parts_of_records(routes)))
}

/// The five operations of a kind of record.
fn records<S: ToSchema>(routes: Routes, resource: Resource) -> Routes {
    let Resource { kind, plural } = resource;
    let word = kind.as_str();
    let collection = format!("/api/v1/{plural}");
    let one = format!("{collection}/{{name}}");
    let operation = |method: Method, path: &str, verb: &str, summary: &str| {
        Operation::new(method, path, format!("{verb}{word}"), summary).tag(plural)
    };
    let record = || Shape::named::<Manifest<S>>(word);
    let input = || {
        let input = Shape::named::<Incoming<S>>(format!("{word}Input"));
        if kind == Kind::Registry { input } else { input.without("credential") }
    };
    let absent = &[StatusCode::NOT_FOUND];
    let conflict = &[StatusCode::CONFLICT];
    // Rules that the store's own server keeps may speak against any write.
    let refused = &[StatusCode::UNPROCESSABLE_ENTITY];

    let list = operation(Method::GET, &collection, "list", "What the caller may see, by name")
        .query("limit", Type::Integer, "Items a page, 1 to 500; 100 when absent.")
        .query("cursor", Type::String, "The previous page's `next`.")
        .answers(StatusCode::OK, Shape::list_of::<Manifest<S>>(word), "A page", &[]);
    let create = operation(Method::POST, &collection, "create", "Create")
        .audited("create", word)
        .takes(input())
        .answers(StatusCode::CREATED, record(), "Created", &["ETag", "Location"])
        .fails(conflict);
    let read = operation(Method::GET, &one, "read", "Read one")
        .answers(StatusCode::OK, record(), "The record", &["ETag"])
        .describes(Shape::of::<S>())
        .fails(absent);
    let replace = operation(Method::PUT, &one, "replace", "Replace the spec")
        .audited("replace", word)
        .if_match(true)
        .takes(input())
        .answers(StatusCode::OK, record(), "Replaced", &["ETag"])
        .fails(absent)
        .fails(conflict);
    let mut remove = operation(Method::DELETE, &one, "remove", "Remove")
        .audited("remove", word)
        .if_match(true)
        .answers_empty("Removed", &[])
        .fails(absent)
        .fails(conflict)
        .fails(refused);
    if kind == Kind::Registry {
        remove =
            remove.query("force", Type::Boolean, "Also where its spaces are bound: they are removed first.");
    }
    routes
        .add(list, move |call| resources::list(kind, call))
        .add(create, move |call| resources::create(resource, call))
        .add(read, move |call| resources::read(kind, call))
        .add(replace, move |call| resources::replace(kind, call))
        .add(remove, move |call| resources::remove(kind, call))
}

/// Credentials and bindings.
fn parts_of_records(routes: Routes) -> Routes {
    let credential = "/api/v1/registries/{name}/credential";
    let binding = "/api/v1/registryspaces/{name}/bindings/{workspace}";
    let absent = &[StatusCode::NOT_FOUND];
    let conflict = &[StatusCode::CONFLICT];
    // Rules that the store's own server keeps may speak against any write.
    let refused = &[StatusCode::UNPROCESSABLE_ENTITY];
    let etag = &["ETag"];
    let registry = Kind::Registry.as_str();
    let space = Kind::RegistrySpace.as_str();
    routes
        .add(
            Operation::new(Method::PUT, credential, "storeCredential", "Store user name and password")
                .tag("registries")
                .audited("store-credential", registry)
                .if_match(false)
                .takes(Shape::of::<credentials::CredentialInput>())
                .answers_empty("Stored", etag)
                .fails(absent)
                .fails(conflict),
            credentials::store,
        )
        .add(
            Operation::new(Method::DELETE, credential, "forgetCredential", "Forget user name and password")
                .tag("registries")
                .audited("forget-credential", registry)
                .if_match(false)
                .answers_empty("Forgotten, or there was none", etag)
                .fails(absent)
                .fails(conflict)
                .fails(refused),
            credentials::forget,
        )
        .add(
            Operation::new(
                Method::PUT,
                binding,
                "bind",
                "Let a workspace's namespaces pull the space's images",
            )
            .tag("spaces")
            .audited("bind", space)
            .answers_empty("Bound", etag)
            .fails(absent)
            .fails(conflict)
            .fails(refused),
            bindings::bind,
        )
        .add(
            Operation::new(Method::DELETE, binding, "unbind", "Take a binding away")
                .tag("spaces")
                .audited("unbind", space)
                .answers(
                    StatusCode::OK,
                    Shape::named::<Manifest<SpaceSpec>>(space),
                    "Unbound, or it was not bound: the space as it is now. The header Warning says how long \
                     tokens are good that were fetched before",
                    etag,
                )
                .fails(absent)
                .fails(conflict)
                .fails(refused),
            bindings::unbind,
        )
}

/// How registries are, and what is asked of them.
fn about_registries(routes: Routes) -> Routes {
    let of = |part: &str| format!("/api/v1/registries/{{name}}/{part}");
    let absent = &[StatusCode::NOT_FOUND];
    let request = |what: &'static str, id: &str, summary: &str| {
        Operation::new(Method::POST, of(what), id, summary)
            .tag("registries")
            .audited(what, Kind::Registry.as_str())
            .answers(StatusCode::ACCEPTED, Shape::of::<requests::Requested>(), "See the overview", &[])
            .fails(absent)
    };
    routes
        .add(
            Operation::new(
                Method::GET,
                of("overview"),
                "readOverview",
                "How a registry is, and what it holds",
            )
            .tag("registries")
            .answers(StatusCode::OK, Shape::of::<overview::Overview>(), "As it was last seen", &[])
            .fails(absent),
            overview::overview,
        )
        .add(request("sync", "syncRegistry", "Check a registry and read its spaces at once"), requests::sync)
        .add(
            request("rotate", "rotateRobots", "Replace a Harbor's robot accounts, with overlap"),
            requests::rotate,
        )
        .add(
            Operation::new(
                Method::POST,
                of("resolve"),
                "resolve",
                "Which digest a tag names, or whether it exists",
            )
            .tag("registries")
            .takes(Shape::of::<requests::ResolveRequest>())
            .answers(StatusCode::OK, Shape::of::<requests::Resolved>(), "What it names", &[])
            .fails(absent)
            .fails(&[StatusCode::BAD_GATEWAY]),
            requests::resolve,
        )
        .add(
            Operation::new(
                Method::GET,
                "/api/v1/leftovers",
                "listLeftovers",
                "Where accounts may be left that pullgate made and nobody needs any more",
            )
            .tag("registries")
            .answers(
                StatusCode::OK,
                Shape::of::<leftovers::Leftovers>(),
                "All that is remembered",
                &[],
            ),
            leftovers::list,
        )
        .add(
            Operation::new(
                Method::DELETE,
                "/api/v1/leftovers/{name}",
                "forgetLeftovers",
                "Forget accounts that are left at a registry: they are not removed, and pull until they end",
            )
            .tag("registries")
            .audited("forget-leftovers", Kind::Registry.as_str())
            .answers(StatusCode::OK, Shape::of::<leftovers::Forgotten>(), "Forgotten", &[])
            .fails(absent),
            leftovers::forget,
        )
}

/// What is asked about namespaces, and the document itself.
fn questions(routes: Routes) -> Routes {
    let of_namespace = |part: &str| format!("/api/v1/namespaces/{{namespace}}/{part}");
    routes
        .add(
            Operation::new(
                Method::GET,
                of_namespace("pull-secret"),
                "readPullSecret",
                "The pull secret that a namespace should have",
            )
            .tag("namespaces")
            .query("reveal", Type::Boolean, "Show the passwords, to whom it is granted. Audited.")
            .answers(StatusCode::OK, Shape::of::<PullSecret>(), "Its entries", &[]),
            namespaces::pull_secret,
        )
        .add(
            Operation::new(
                Method::GET,
                of_namespace("access"),
                "readAccess",
                "What a namespace may pull beside what is public or unmanaged",
            )
            .tag("namespaces")
            .answers(StatusCode::OK, Shape::of::<NamespaceAccess>(), "Its spaces and registries", &[])
            .fails(&[StatusCode::BAD_REQUEST]),
            namespaces::access,
        )
        .add(
            Operation::new(
                Method::POST,
                "/api/v1/explain",
                "explain",
                "What would be decided for images, and why",
            )
            .tag("explain")
            .takes(Shape::of::<ExplainRequest>())
            .answers(StatusCode::OK, Shape::of::<ExplainAnswer>(), "The decisions", &[]),
            explain::explain,
        )
        .add_open(
            Operation::new(Method::GET, "/api/v1/openapi.json", "readOpenApi", "This document")
                .tag("openapi")
                .answers(StatusCode::OK, Shape::named::<Value>("OpenApi"), "OpenAPI 3.1", &[]),
            get(|| async { Json(LazyLock::force(&DOCUMENT)).into_response() }),
        )
}

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(openapi);
