//! Responses with a JSON body.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// A response with a JSON body, or none.
pub(crate) fn response(
    status: StatusCode,
    headers: &[(HeaderName, HeaderValue)],
    json: String,
) -> Response<Body> {
    let typed = !json.is_empty();
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().extend(headers.iter().cloned());
    if typed {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}
