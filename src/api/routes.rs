//! Routes and the `OpenAPI` document, from one declaration each: what is served is documented, and the other way
//! round.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::path::{HttpMethod, Operation as OperationDoc, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Array, Components, Content, Header, Info, ObjectBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr,
    Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::ApiState;
use super::audit::Act;
use super::call::{Answer, Call, serve};
use super::error::{PROBLEM_JSON, ProblemDetails};
use super::page::List;

const JSON: &str = "application/json";
/// What may come of any operation.
const ALWAYS: [StatusCode; 4] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];
/// Name of the security scheme in the document.
const BEARER: &str = "bearer";

/// One method of one path: how it is routed, audited and documented.
pub(super) struct Operation {
    method: Method,
    path: String,
    act: Option<Act>,
    doc: OperationDoc,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Operation {
    pub fn new(method: Method, path: impl Into<String>, id: impl Into<String>, summary: &str) -> Self {
        let path = path.into();
        let mut doc = OperationDoc::new();
        doc.operation_id = Some(id.into());
        doc.summary = Some(summary.to_owned());
        doc.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
        let mut operation = Self { method, path, act: None, doc, schemas: Vec::new() };
        let path = operation.path.clone();
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            operation.parameter(ParameterIn::Path, name, None, Type::String, true);
        }
        operation.fails(&ALWAYS)
    }

    /// Writes a line of the audit log for every request, whatever becomes of it.
    pub fn audited(mut self, action: &'static str, kind: &'static str) -> Self {
        self.act = Some(Act { action, kind });
        self.fails(&[StatusCode::INSUFFICIENT_STORAGE])
    }

    pub fn tag(mut self, tag: &str) -> Self {
        self.doc.tags = Some(vec![tag.to_owned()]);
        self
    }

    pub fn query(mut self, name: &str, of: Type, description: &str) -> Self {
        self.parameter(ParameterIn::Query, name, Some(description), of, false);
        self.fails(&[StatusCode::BAD_REQUEST])
    }

    pub fn if_match(mut self, required: bool) -> Self {
        let description = "The `ETag` of the version that this write is based on.";
        self.parameter(ParameterIn::Header, "If-Match", Some(description), Type::String, required);
        let failures =
            [StatusCode::BAD_REQUEST, StatusCode::PRECONDITION_FAILED, StatusCode::PRECONDITION_REQUIRED];
        self.fails(if required { &failures } else { &failures[..2] })
    }

    fn parameter(&mut self, at: ParameterIn, name: &str, text: Option<&str>, of: Type, required: bool) {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(at)
            .required(if required { Required::True } else { Required::False })
            .description(text)
            .schema(Some(ObjectBuilder::new().schema_type(SchemaType::new(of))));
        self.doc.parameters.get_or_insert_default().push(RefOr::T(parameter.build()));
    }

    /// Documents the body.
    pub fn takes(mut self, shape: Shape) -> Self {
        let body = RequestBodyBuilder::new()
            .content(JSON, Content::new(Some(self.refer(shape))))
            .required(Some(Required::True));
        self.doc.request_body = Some(RefOr::T(body.build()));
        self.fails(&[
            StatusCode::BAD_REQUEST,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ])
    }

    /// Documents a success with a body.
    pub fn answers(mut self, status: StatusCode, shape: Shape, description: &str, headers: &[&str]) -> Self {
        let content = Content::new(Some(self.refer(shape)));
        self.respond(status, ResponseBuilder::new().description(description).content(JSON, content), headers)
    }

    /// Documents a success without a body.
    pub fn answers_empty(self, description: &str, headers: &[&str]) -> Self {
        self.respond(StatusCode::NO_CONTENT, ResponseBuilder::new().description(description), headers)
    }

    fn respond(mut self, status: StatusCode, mut response: ResponseBuilder, headers: &[&str]) -> Self {
        for name in headers {
            let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
            response = response.header(*name, Header::new(text));
        }
        self.doc.responses.responses.insert(status.as_str().to_owned(), RefOr::T(response.build()));
        self
    }

    /// Documents failures.
    pub fn fails(mut self, statuses: &[StatusCode]) -> Self {
        let problem = self.refer(Shape::of::<ProblemDetails>());
        for status in statuses {
            let response = ResponseBuilder::new()
                .description(status.canonical_reason().unwrap_or_default())
                .content(PROBLEM_JSON, Content::new(Some(problem.clone())));
            self.doc.responses.responses.insert(status.as_str().to_owned(), RefOr::T(response.build()));
        }
        self
    }

    /// Documents a type that others refer to: what is derived for a generic type leaves its parameter out.
    pub fn describes(mut self, shape: Shape) -> Self {
        self.refer(shape);
        self
    }

    fn refer(&mut self, shape: Shape) -> Ref {
        let reference = Ref::from_schema_name(&shape.name);
        self.schemas.extend(shape.others);
        self.schemas.push((shape.name, shape.schema));
        reference
    }
}

/// The schema of a Rust type, and its name in the document.
pub(super) struct Shape {
    name: String,
    schema: RefOr<Schema>,
    /// Schemas that it refers to.
    others: Vec<(String, RefOr<Schema>)>,
}

impl Shape {
    pub fn of<T: ToSchema>() -> Self {
        Self::named::<T>(T::name())
    }

    /// For a generic type, whose own name is the same whatever its parameter.
    pub fn named<T: ToSchema>(name: impl Into<String>) -> Self {
        let mut others = Vec::new();
        T::schemas(&mut others);
        Self { name: name.into(), schema: <T as PartialSchema>::schema(), others }
    }

    /// A list of what is documented under another name.
    pub fn list_of<T: ToSchema>(item: &str) -> Self {
        let mut shape = Self::named::<List<T>>(format!("{item}List"));
        shape.others.clear();
        if let RefOr::T(Schema::Object(object)) = &mut shape.schema {
            object.properties.insert("items".to_owned(), Array::new(Ref::from_schema_name(item)).into());
        }
        shape
    }

    /// Leaves a property out.
    pub fn without(mut self, property: &str) -> Self {
        if let RefOr::T(Schema::Object(object)) = &mut self.schema {
            object.properties.remove(property);
        }
        self
    }
}

/// What is declared so far.
pub(super) struct Routes {
    router: Router<Arc<ApiState>>,
    paths: Paths,
    components: Components,
}

impl Routes {
    pub fn new() -> Self {
        Self { router: Router::new(), paths: Paths::new(), components: Components::new() }
    }

    /// Declares an operation for callers with a token.
    pub fn add<H, F>(self, operation: Operation, handler: H) -> Self
    where
        H: FnOnce(Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let act = operation.act;
        let route = move |State(state): State<Arc<ApiState>>,
                          params: Result<RawPathParams, RawPathParamsRejection>,
                          request: Request| serve(state, act, handler, params, request);
        let route = on(filter(&operation.method), route);
        self.add_route(operation, route)
    }

    /// Declares an operation for everybody.
    pub fn add_open(self, mut operation: Operation, route: MethodRouter<Arc<ApiState>>) -> Self {
        operation.doc.security = Some(Vec::new());
        for status in ALWAYS {
            operation.doc.responses.responses.remove(status.as_str());
        }
        self.add_route(operation, route)
    }

    fn add_route(mut self, operation: Operation, route: MethodRouter<Arc<ApiState>>) -> Self {
        let Operation { method, path, doc, schemas, .. } = operation;
        self.router = self.router.route(&path, route);
        self.paths.add_path_operation(&path, vec![documented(&method)], doc);
        self.components.schemas.extend(schemas);
        self
    }

    pub fn into_router(self) -> Router<Arc<ApiState>> {
        self.router
    }

    pub fn into_document(mut self) -> OpenApi {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("A token of the tokens file, or of a user of the cluster.".to_owned());
        self.components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
        let mut info = Info::new("pullgate", env!("CARGO_PKG_VERSION"));
        info.description = Some(env!("CARGO_PKG_DESCRIPTION").to_owned());
        OpenApiBuilder::new().info(info).paths(self.paths).components(Some(self.components)).build()
    }
}

/// The methods that operations are declared for, as the router calls them.
fn filter(method: &Method) -> MethodFilter {
    match *method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}

/// The same methods, as the document calls them.
fn documented(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
