//! The `OpenAPI` document, and that it describes what is served.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::support::api::Client;

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

async fn document() -> Value {
    let request = Request::builder().uri("/api/v1/openapi.json").body(Body::empty()).unwrap();
    Client::new().send(request).await.is(200).json()
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_complete_in_itself() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, serde_json::to_value(pullgate::api::openapi()).unwrap());
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is not there");
    }
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            if path != "/api/v1/openapi.json" {
                let problem = &responses["401"]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/ProblemDetails", "{method} {path}");
            }
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["CredentialInput"]["properties"]["password"]["writeOnly"], true);
    assert!(schemas["RegistryInput"]["properties"].get("credential").is_some());
    assert!(schemas["Registry"]["properties"].get("credential").is_none());
    assert!(schemas["RegistrySpaceInput"]["properties"].get("credential").is_none());
    for (record, spec) in
        [("Registry", "RegistrySpec"), ("RegistrySpace", "SpaceSpec"), ("Workspace", "WorkspaceSpec")]
    {
        let reference = format!("#/components/schemas/{spec}");
        assert_eq!(schemas[record]["properties"]["spec"]["$ref"], reference);
        assert_eq!(schemas[format!("{record}Input")]["properties"]["spec"]["$ref"], reference);
        let items = &schemas[format!("{record}List")]["properties"]["items"]["items"]["$ref"];
        assert_eq!(items, &format!("#/components/schemas/{record}"));
    }
}

#[tokio::test]
async fn every_documented_operation_is_served_and_no_other() {
    let document = document().await;
    let api = Client::populated().await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let concrete = path.strip_prefix("/api/v1").unwrap().replace(['{', '}'], "");
        for method in METHODS {
            let reply = api.call("nobody", &method.to_uppercase(), &concrete, "", None).await;
            let open = path.ends_with("openapi.json");
            let expected = match (item.get(method).is_some(), open) {
                (true, false) => 401,
                (true, true) => 200,
                (false, _) => 405,
            };
            assert_eq!(reply.status, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_operations_are_these() {
    let document = document().await;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|m| item.get(**m).is_some()) {
            let of = &item[*method];
            let statuses: Vec<_> = of["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            operations.push(format!("{} {path}: {}", method.to_uppercase(), statuses.join(" ")));
        }
    }
    insta::assert_snapshot!(operations.join("\n"));
}
