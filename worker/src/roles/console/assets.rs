//! Style sheet, scripts and icon of the pages. They are part of the program, so pages load nothing from
//! other hosts.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

/// The files: name, content type, content.
const FILES: [(&str, &str, &[u8]); 8] = [
    ("call.js", "text/javascript; charset=utf-8", include_bytes!("../../../assets/call.js")),
    ("console.css", "text/css; charset=utf-8", include_bytes!("../../../assets/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_bytes!("../../../assets/console.js")),
    ("htmx.js", "text/javascript; charset=utf-8", include_bytes!("../../../assets/htmx.min.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../../assets/icon.svg")),
    ("keys.js", "text/javascript; charset=utf-8", include_bytes!("../../../assets/keys.js")),
    ("tools.css", "text/css; charset=utf-8", include_bytes!("../../../assets/tools.css")),
    ("views.js", "text/javascript; charset=utf-8", include_bytes!("../../../assets/views.js")),
];

/// Addresses of the assets. An address contains a digest of the content, so it changes with the content.
pub struct Assets {
    pub call: String,
    pub css: String,
    pub js: String,
    pub htmx: String,
    pub icon: String,
    pub keys: String,
    pub tools: String,
    pub views: String,
}

/// The addresses of this build.
pub static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let [call, css, js, htmx, icon, keys, tools, views] = FILES
        .map(|(name, _, content)| format!("/assets/{name}?{}", &hex::encode(Sha256::digest(content))[..12]));
    Assets { call, css, js, htmx, icon, keys, tools, views }
});

/// `GET /assets/{name}`
pub async fn serve(Path(name): Path<String>) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(file, ..)| *file == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // The content of an address never changes, so browsers may keep it.
    let headers =
        [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "private, max-age=31536000, immutable")];
    (headers, *content).into_response()
}
