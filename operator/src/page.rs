//! The web page at `/`: every pipeline, how far behind it is and was, and what happened lately.
//!
//! Read-only, and made of three static files; what it shows comes from `/v1/pipelines`, a JSON
//! document made from the [`Board`] in memory, so that no visitor can reach the API server, a
//! database or an agent. The script puts everything on the page as text, never as markup. Neither a
//! Secret nor a row's value is in any status, and so neither is on the page.

mod board;
mod document;
mod ring;

pub(crate) use board::Board;
pub(crate) use document::Operator;

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    /// For the header Content-Type.
    pub(crate) kind: &'static str,
    /// The content.
    pub(crate) text: &'static str,
}

/// What the page may do: load these files, fetch from where it came, and nothing else.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The file at a path.
pub(crate) fn file(path: &str) -> Option<File> {
    let (kind, text) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/page.html")),
        "/page.js" => (
            "text/javascript; charset=utf-8",
            include_str!("page/page.js"),
        ),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page/page.css")),
        "/icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        _ => return None,
    };
    Some(File { kind, text })
}

#[cfg(test)]
pub(crate) mod tests;
