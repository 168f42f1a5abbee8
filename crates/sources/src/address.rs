//! Which addresses may be asked.
//!
//! A policy's author chooses an address, but the operator's pod sends the request. Without a list,
//! whoever may write a policy could make it call anything that the operator can reach.

use std::fmt;

use thiserror::Error;
use url::{Host, Url};

/// The base address of a source that may be asked: only an [`AllowList`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Url);

impl Address {
    /// The address as a URL: `http` or `https`, without userinfo, query or fragment.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// A URL of a web service that may be asked, with its query: only an [`AllowList`] makes one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WebAddress(Url);

impl WebAddress {
    /// Scheme, host and port.
    pub fn origin(&self) -> Address {
        let mut origin = self.0.clone();
        origin.set_query(None);
        origin.set_path("");
        Address(origin)
    }

    /// The whole of it, which may be secret.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// Without the query, in which somebody may have put a secret.
impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(self.0.as_str()))
    }
}

impl fmt::Debug for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebAddress({self})")
    }
}

/// The addresses that the operator's configuration permits.
#[derive(Clone, Debug)]
pub struct AllowList {
    own: Option<Address>,
    allowed: Vec<Allowed>,
}

impl AllowList {
    /// `own` is the operator's own source, used where a policy names none, and allowed too.
    ///
    /// An entry is an origin, with a path or without: `https://prom.monitoring.svc:9090` allows that
    /// scheme, host and port, and every path; with a path, that path and those below it. A host that
    /// begins with `*.` stands for any one label in that place.
    pub fn new<E: AsRef<str>>(
        own: Option<&str>,
        entries: impl IntoIterator<Item = E>,
    ) -> Result<Self, AddressError> {
        let own = own.map(parse).transpose()?.map(Address);
        let own_entry = own
            .as_ref()
            .map(|own| Allowed::new(own.to_string(), &own.0, false));
        let entries = entries
            .into_iter()
            .map(|entry| Allowed::parse(entry.as_ref()));
        let allowed = own_entry
            .into_iter()
            .map(Ok)
            .chain(entries)
            .collect::<Result<_, _>>()?;
        Ok(Self { own, allowed })
    }

    /// The operator's own address. Its credentials are for this call alone: an address that a policy
    /// names is never sent them, even if it is the same one.
    pub fn own(&self) -> Result<Address, AddressError> {
        self.own.clone().ok_or_else(|| AddressError::NoneOfItsOwn {
            allowed: self.to_string(),
        })
    }

    /// An address that a policy names.
    pub fn check(&self, address: &str) -> Result<Address, AddressError> {
        let url = parse(address)?;
        if self.allowed.iter().any(|allowed| allowed.admits(&url)) {
            return Ok(Address(url));
        }
        Err(AddressError::NotAllowed {
            address: redacted(address),
            allowed: self.to_string(),
        })
    }
}

impl AllowList {
    /// A URL that a policy names: an address, and after a `?` whatever it likes.
    pub fn check_url(&self, url: &str) -> Result<WebAddress, AddressError> {
        let (address, query) = match url.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (url, None),
        };
        self.check(address)?;
        if query.is_some_and(|query| query.contains('#')) {
            let address = redacted(url);
            return Err(AddressError::NotPlain { address });
        }
        // What was checked is sent, but for the slash at its end, which matters to some servers.
        let mut url = Url::parse(address).map_err(|error| AddressError::NotAnAddress {
            address: redacted(address),
            reason: error.to_string(),
        })?;
        url.set_query(query);
        Ok(WebAddress(url))
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.allowed.is_empty() {
            return f.write_str("none");
        }
        for (index, allowed) in self.allowed.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let whose = if index == 0 && self.own.is_some() {
                " (the operator's own)"
            } else {
                ""
            };
            write!(f, "{comma}{}{whose}", allowed.text)?;
        }
        Ok(())
    }
}

/// Why an address, or an entry of the list, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not a URL.
    #[error("`{address}` is not an address: {reason}")]
    NotAnAddress {
        /// The text, without what may be secret.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither `http` nor `https`.
    #[error("`{address}` does not begin with http:// or https://")]
    Scheme {
        /// The text, without what may be secret.
        address: String,
    },
    /// A user name or password in the address.
    #[error("`{address}` has a user name or password in it: credentials belong in a Secret")]
    Userinfo {
        /// The text, without them.
        address: String,
    },
    /// A `?` or `#` part, or an escaped character in the path.
    #[error("`{address}` must be scheme, host, port and a plain path only")]
    NotPlain {
        /// The text, without what may be secret.
        address: String,
    },
    /// Not on the list.
    #[error("`{address}` is not allowed; allowed: {allowed}")]
    NotAllowed {
        /// The text, without what may be secret.
        address: String,
        /// The entries of the list.
        allowed: String,
    },
    /// No address in the policy, and none in the operator's configuration.
    #[error("the operator has no metrics source of its own: name an address; allowed: {allowed}")]
    NoneOfItsOwn {
        /// The entries of the list.
        allowed: String,
    },
}

/// One entry of the list.
#[derive(Clone, Debug)]
struct Allowed {
    text: String,
    scheme: String,
    host: HostPattern,
    port: Option<u16>,
    path: String,
}

#[derive(Clone, Debug)]
enum HostPattern {
    Exactly(Option<Host<String>>),
    OneLabelUnder(String),
}

impl Allowed {
    fn parse(entry: &str) -> Result<Self, AddressError> {
        const ANY: &str = "://*.";
        if entry.matches('*').count() > usize::from(entry.contains(ANY)) {
            return Err(AddressError::NotAnAddress {
                address: redacted(entry),
                reason: "`*.` is possible at the beginning of the host only".to_owned(),
            });
        }
        // A label in the wildcard's place makes it a URL.
        let url = parse(&entry.replacen(ANY, "://any.", 1))?;
        Ok(Self::new(entry.to_owned(), &url, entry.contains(ANY)))
    }

    fn new(text: String, url: &Url, wildcard: bool) -> Self {
        let host = match url.host_str().and_then(|host| host.split_once('.')) {
            Some((_, domain)) if wildcard => HostPattern::OneLabelUnder(domain.to_owned()),
            _ => HostPattern::Exactly(url.host().map(|host| host.to_owned())),
        };
        Self {
            text,
            scheme: url.scheme().to_owned(),
            host,
            port: url.port_or_known_default(),
            path: url.path().trim_end_matches('/').to_owned(),
        }
    }

    fn admits(&self, url: &Url) -> bool {
        let host = match &self.host {
            HostPattern::Exactly(host) => *host == url.host().map(|host| host.to_owned()),
            HostPattern::OneLabelUnder(domain) => match url.host() {
                Some(Host::Domain(name)) => name
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
                _ => false,
            },
        };
        let below = url.path().strip_prefix(&self.path);
        host && self.scheme == url.scheme()
            && self.port == url.port_or_known_default()
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn parse(text: &str) -> Result<Url, AddressError> {
    let address = redacted(text);
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            return Err(AddressError::NotAnAddress {
                address,
                reason: error.to_string(),
            });
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(AddressError::Scheme { address });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::Userinfo { address });
    }
    if url.host_str().is_some_and(|host| host.contains('*')) {
        let reason = "`*.` is possible in the allow-list only".to_owned();
        return Err(AddressError::NotAnAddress { address, reason });
    }
    // An escaped slash or dot could lead out of an allowed path on the server's side.
    if url.query().is_some() || url.fragment().is_some() || url.path().contains('%') {
        return Err(AddressError::NotPlain { address });
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The text without userinfo and without a query's values, even where it is no valid URL.
fn redacted(text: &str) -> String {
    let shown = text
        .split_once(['?', '#'])
        .map_or(text, |(before, _)| before);
    match shown.rsplit_once('@') {
        None => shown.to_owned(),
        Some((before, host)) => {
            let scheme = before
                .find("//")
                .map_or("", |slashes| &before[..slashes + 2]);
            format!("{scheme}***@{host}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> AllowList {
        AllowList::new(
            Some("http://prometheus.backstop.svc:9090"),
            [
                "https://prom.monitoring.svc:9090",
                "https://*.team.svc",
                "https://shared.corp/prom/",
            ],
        )
        .expect("a valid list")
    }

    #[test]
    fn an_address_is_compared_by_scheme_host_and_port() {
        for address in [
            "https://prom.monitoring.svc:9090",
            "https://prom.monitoring.svc:9090/",
            "https://prom.monitoring.svc:9090/prometheus",
            "HTTPS://PROM.monitoring.SVC:9090",
            "http://prometheus.backstop.svc:9090",
            "https://a.team.svc",
            "https://a.team.svc:443/x",
            "https://shared.corp/prom",
            "https://shared.corp/prom/eu",
        ] {
            assert!(list().check(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn an_address_that_differs_in_any_part_is_not_allowed() {
        for address in [
            "http://prom.monitoring.svc:9090",
            "https://prom.monitoring.svc",
            "https://prom.monitoring.svc.evil.example:9090",
            "https://prom.monitoring.svc.:9090",
            "https://xprom.monitoring.svc:9090",
            "https://team.svc",
            "https://.team.svc",
            "https://a.b.team.svc",
            "https://ateam.svc",
            "https://a.team.svc:8443",
            "http://a.team.svc:443",
            "https://shared.corp",
            "https://shared.corp/prometheus",
            "https://shared.corp/prom/../admin",
            "https://shared.corp/prom/%2e%2e/admin",
            "https://169.254.169.254",
        ] {
            assert!(
                matches!(list().check(address), Err(AddressError::NotAllowed { .. })),
                "{address}: {:?}",
                list().check(address)
            );
        }
    }

    #[test]
    fn a_url_is_allowed_by_what_stands_before_its_query() {
        for url in [
            "https://shared.corp/prom/rate/?of=web&secret=hunter2",
            "https://prom.monitoring.svc:9090?x=/../%2e%2e",
        ] {
            let address = list().check_url(url).expect(url);
            assert!(!format!("{address} {address:?}").contains("hunter2"));
        }
        let slash = list()
            .check_url("https://shared.corp/prom/?a=1")
            .expect("allowed");
        assert_eq!(slash.url().as_str(), "https://shared.corp/prom/?a=1");
        assert_eq!(slash.to_string(), "https://shared.corp/prom/");
        assert_eq!(slash.origin().to_string(), "https://shared.corp");
        for url in [
            "https://shared.corp?/prom",
            "https://shared.corp/prom/../admin?a=1",
            "https://shared.corp/prom/%2e%2e/admin?a=1",
            "https://evil.example?https://shared.corp/prom",
            "https://evil.example\\@shared.corp/prom",
            "https://shared.corp/prom?a=1#b",
            "https://a:hunter2@shared.corp/prom?a=1",
        ] {
            let error = list().check_url(url).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_refusal_names_the_address_and_what_is_allowed() {
        let error = list()
            .check("http://metadata.internal")
            .expect_err("not on the list");
        assert_eq!(
            error.to_string(),
            "`http://metadata.internal` is not allowed; allowed: \
             http://prometheus.backstop.svc:9090 (the operator's own), \
             https://prom.monitoring.svc:9090, https://*.team.svc, https://shared.corp/prom/"
        );
    }

    #[test]
    fn an_ip_address_is_compared_as_a_number() {
        let list = AllowList::new(None, ["http://127.0.0.1:9090"]).expect("a valid list");
        assert!(list.check("http://2130706433:9090").is_ok());
        assert!(list.check("http://127.0.0.2:9090").is_err());
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for address in [
            "https://admin:hunter2@prom.monitoring.svc:9090",
            "https://hunter2@prom.monitoring.svc:9090",
            "https://admin:hunter2@prom .svc",
            "admin:hunter2@prom.monitoring.svc",
            "https://prom.monitoring.svc:9090?token=hunter2",
            "https://a@b:hunter2@prom.monitoring.svc:9090",
        ] {
            let error = list().check(address).expect_err(address);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert_eq!(
            list()
                .check("https://a:b@prom.monitoring.svc:9090")
                .expect_err("userinfo")
                .to_string(),
            "`https://***@prom.monitoring.svc:9090` has a user name or password in it: \
             credentials belong in a Secret"
        );
    }

    #[test]
    fn only_plain_web_addresses_are_addresses() {
        for (address, message) in [
            (
                "prom:9090",
                "`prom:9090` does not begin with http:// or https://",
            ),
            (
                "file:///etc/passwd",
                "`file:///etc/passwd` does not begin with http:// or https://",
            ),
            (
                "prom",
                "`prom` is not an address: relative URL without a base",
            ),
            (
                "https://shared.corp/prom/..%2fadmin",
                "`https://shared.corp/prom/..%2fadmin` must be scheme, host, port and a plain path \
                 only",
            ),
        ] {
            assert_eq!(
                list().check(address).expect_err(address).to_string(),
                message
            );
        }
        assert!(list().check("https://*.team.svc").is_err());
    }

    #[test]
    fn a_wildcard_stands_only_at_the_beginning_of_a_host() {
        for entry in [
            "https://prom.*.svc",
            "https://*.*.svc",
            "*",
            "https://*",
            "https://a/*.b",
        ] {
            assert!(AllowList::new(None, [entry]).is_err(), "{entry}");
        }
    }

    #[test]
    fn without_a_source_of_its_own_the_operator_needs_an_address() {
        let list = AllowList::new(None, ["https://prom.svc"]).expect("a valid list");
        assert_eq!(
            list.own().expect_err("none configured").to_string(),
            "the operator has no metrics source of its own: name an address; allowed: \
             https://prom.svc"
        );
        let nothing = AllowList::new(None, [""; 0]).expect("an empty list");
        assert!(
            nothing
                .check("https://prom.svc")
                .is_err_and(|e| e.to_string().ends_with("none"))
        );
    }
}
