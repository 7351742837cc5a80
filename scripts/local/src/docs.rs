//! The page at `/docs`, to read the API and try it as the demo user. At `/openapi.json` is what the page
//! shows: the client edition of the document.
//!
//! Swagger UI is part of the program, as the archive of its release, so the page needs no network. The page contains a token, a new one each time;
//! a page of another origin cannot read it.

use std::io::{Cursor, Read as _};
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use gateway::tokens::{EXPIRES_IN, Issuer, SCOPES};
use schema::document::CLIENT_TEXT;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use uuid::Uuid;
use zip::ZipArchive;

/// The payment and the user of the document's examples.
const EXAMPLE_PAYMENT: &str = "7d4df5ae-3f6b-4c27-9d0e-5b6c1c1f0a41";
const EXAMPLE_USER: &str = "0b5f8f3e-52a7-4b83-8f2d-b1f5ad7a9c10";

/// A file of Swagger UI: name, content type, content.
type UiFile = (&'static str, &'static str, Bytes);

/// The files of Swagger UI that the page needs.
static FILES: LazyLock<[UiFile; 2]> = LazyLock::new(|| {
    [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript")]
        .map(|(name, content_type)| (name, content_type, unpacked(name)))
});

/// The page, with the word `TOKEN` where its token goes.
const PAGE: &str = include_str!("docs.html");

/// What the page is made of.
pub struct Docs {
    /// Makes the page's tokens.
    pub issuer: Issuer,
    /// The user who tries the API.
    pub user: &'static str,
}

/// The page, its files, and the document with examples that the user may submit, a new payment each time.
pub fn router(docs: Docs) -> Router {
    Router::new()
        .route("/docs", get(page))
        .route("/openapi.json", get(document))
        .route("/docs/{file}", get(file))
        .with_state(Arc::new(docs))
}

async fn page(State(docs): State<Arc<Docs>>) -> Response {
    match docs.issuer.issue(docs.user, SCOPES, EXPIRES_IN) {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], Html(PAGE.replace("TOKEN", &token)))
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn document(State(docs): State<Arc<Docs>>) -> impl IntoResponse {
    let document = CLIENT_TEXT.replace(EXAMPLE_USER, docs.user);
    let document = document.replace(EXAMPLE_PAYMENT, &Uuid::new_v4().to_string());
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, document)
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, content_type, content)) => {
            ([(header::CONTENT_TYPE, *content_type)], content.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A file out of the archive's folder `dist`.
fn unpacked(name: &str) -> Bytes {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("a zip archive");
    let wanted = format!("/dist/{name}");
    let path = archive.file_names().flatten().find(|path| path.ends_with(&wanted));
    let path = path.expect("a file of Swagger UI").into_owned();
    let mut content = Vec::new();
    let mut file = archive.by_name(&path).expect("the file that was found");
    file.read_to_end(&mut content).expect("a whole archive");
    content.into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    const USER: &str = "5f2c8d34-1b7e-4e0a-8c55-90d1e2f3a4b5";

    async fn got(path: &str) -> (u16, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::open(directory.path()).expect("an issuer");
        let docs = Docs { issuer, user: USER };
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let Ok(response) = router(docs).oneshot(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn the_page_and_all_that_it_names_are_there_and_come_from_here() {
        let (status, page) = got("/docs").await;
        assert_eq!(status, 200);
        assert!(!page.contains("TOKEN") && !page.contains("://"), "{page}");
        let named: Vec<&str> = page.split('"').filter(|text| text.starts_with('/')).collect();
        assert_eq!(named.len(), 3);
        for path in named {
            let (status, content) = got(path).await;
            assert_eq!(status, 200, "{path}");
            assert!(content.len() > 1000, "{path}");
        }
        for path in ["/docs/", "/docs/x", "/docs/swagger-initializer.js", "/docs/..%2fx"] {
            assert_eq!(got(path).await.0, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn the_documents_example_is_a_new_payment_of_the_user() {
        let (one, other) = (got("/openapi.json").await.1, got("/openapi.json").await.1);
        assert_ne!(one, other);
        for document in [one, other] {
            assert!(document.contains(&format!(r#""userId": "{USER}""#)));
            assert!(!document.contains(EXAMPLE_USER) && !document.contains(EXAMPLE_PAYMENT));
        }
        assert!(CLIENT_TEXT.contains(EXAMPLE_USER) && CLIENT_TEXT.contains(EXAMPLE_PAYMENT));
    }
}
