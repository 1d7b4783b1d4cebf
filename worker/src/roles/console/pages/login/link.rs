//! The printed link with the token, and the addresses to which a login may lead. Pure.

use axum::http::{Method, Uri};

/// The first page of the console.
pub const START: &str = "/calls";
/// Name of the parameter with the token.
const TOKEN: &str = "token";

/// A request whose URL carries the token, as the printed link does.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    pub token: String,
    /// The same address without the token.
    pub address: String,
}

impl Link {
    /// Reads the token from a request. `None`: its URL carries none.
    pub fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let query = uri.query().filter(|_| method == Method::GET)?;
        let mut token = None;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == TOKEN {
                token = Some(value.into_owned());
            } else {
                rest.append_pair(&name, &value);
            }
        }
        let (token, rest) = (token?, rest.finish());
        let next = form_urlencoded::parse(rest.as_bytes()).find(|(name, _)| name == "next");
        let address = match (uri.path(), next) {
            ("/login", Some((_, next))) => next.into_owned(),
            ("/login", None) => START.to_owned(),
            (path, _) if rest.is_empty() => path.to_owned(),
            (path, _) => format!("{path}?{rest}"),
        };
        Some(Self { token, address: local_address(&address) })
    }
}

/// `address` if it is a page of this console, else the first page. A link must not lead to another site.
pub fn local_address(address: &str) -> String {
    let mut start = address.bytes();
    let is_local = start.next() == Some(b'/')
        && !start.next().is_some_and(|second| matches!(second, b'/' | b'\\'))
        && address.bytes().all(|byte| byte.is_ascii_graphic())
        && !address.contains("token=");
    let is_page = !["/login", "/logout", "/events"].iter().any(|path| address.starts_with(path));
    if is_local && is_page { address.to_owned() } else { START.to_owned() }
}

/// The address to which a browser returns after its login.
pub fn return_address(method: &Method, uri: &Uri) -> String {
    let address = uri.path_and_query().filter(|_| method == Method::GET);
    local_address(address.map_or(START, |address| address.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_only_to_its_page_without_the_token() {
        #[rustfmt::skip]
        let table = [
            ("/?token=t",                            Some("/")),
            ("/calls?status=busy&token=t&q=%2B65",   Some("/calls?status=busy&q=%2B65")),
            ("/login?token=t",                       Some("/calls")),
            ("/login?token=t&next=/overview?a=1",    Some("/overview?a=1")),
            ("/login?token=t&next=//evil.example",   Some("/calls")),
            ("/login?token=t&next=/%5Cevil.example", Some("/calls")),
            ("/login?token=t&next=https://evil",     Some("/calls")),
            ("/login?token=t&next=/a%0D%0Ab",        Some("/calls")),
            ("//evil.example/?token=t",              Some("/calls")),
            ("/logout?token=t",                      Some("/calls")),
            ("/calls?q=token",                       None),
            ("/calls",                               None),
        ];
        for (address, expected) in table {
            let link = Link::of(&Method::GET, &address.parse().unwrap());
            assert_eq!(link.as_ref().map(|link| link.address.as_str()), expected, "{address}");
            assert!(link.is_none_or(|link| link.token == "t"), "{address}");
        }
        assert_eq!(Link::of(&Method::POST, &Uri::from_static("/?token=t")), None);
    }
}
