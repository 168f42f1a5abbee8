//! Where messages may be sent.
//!
//! A policy's author chooses, but the operator's pod sends: without a list, whoever may write a
//! policy could make it call anything that it can reach.

use backstop_sources::{AddressError, AllowList, WebAddress};

/// The addresses that the operator's configuration permits.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Web services.
    pub(crate) web: AllowList,
    /// Mail servers, as `host:port`.
    mail: Vec<String>,
}

/// What an entry for a mail server begins with.
const MAIL: &str = "smtp://";

impl Allowed {
    /// An entry is an address of a web service, as in
    /// [`AllowList::new`](backstop_sources::AllowList::new), or a mail server such as
    /// `smtp://mail.example.com:587`, however its connections are encrypted.
    pub fn new<E: AsRef<str>>(entries: impl IntoIterator<Item = E>) -> Result<Self, AddressError> {
        let (mut web, mut mail) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.as_ref().strip_prefix(MAIL) {
                None => web.push(entry.as_ref().to_owned()),
                Some(server) => match host_and_port(server) {
                    Some((host, port)) => mail.push(format!("{host}:{port}")),
                    None => {
                        return Err(AddressError::NotAnAddress {
                            address: entry.as_ref().to_owned(),
                            reason: "write it as smtp://mail.example.com:587".to_owned(),
                        });
                    }
                },
            }
        }
        Ok(Self {
            web: AllowList::new(None, web)?,
            mail,
        })
    }

    /// A mail server that a policy names, as host and port.
    pub(crate) fn mail(&self, server: &str) -> Result<(String, u16), String> {
        let (host, port) = host_and_port(server)
            .ok_or("is no server; write its name and port, such as smtp.example.com:587")?;
        if self.mail.contains(&format!("{host}:{port}")) {
            return Ok((host, port));
        }
        let allowed = match self.mail.as_slice() {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        Err(format!("is not allowed; allowed mail servers: {allowed}"))
    }

    /// A URL that stands in a Secret. No message repeats more of it than its origin.
    pub(crate) fn secret(&self, url: &str) -> Result<WebAddress, String> {
        self.web.check_url(url).map_err(|error| match error {
            AddressError::NotAllowed { address, allowed } => format!(
                "the host of its `url` is not allowed ({}); allowed: {allowed}",
                origin(&address)
            ),
            AddressError::Scheme { .. } => {
                "its `url` does not begin with https:// or http://".to_owned()
            }
            AddressError::Userinfo { .. } => {
                "its `url` has a user name or password in it".to_owned()
            }
            _ => "its `url` is no address that could be called".to_owned(),
        })
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.web)?;
        for server in &self.mail {
            write!(f, ", {MAIL}{server}")?;
        }
        Ok(())
    }
}

/// Scheme, host and port of an address.
fn origin(address: &str) -> String {
    let begins = address.find("://").map_or(0, |at| at + 3);
    let ends = address[begins..]
        .find('/')
        .map_or(address.len(), |at| begins + at);
    address[..ends].to_owned()
}

fn host_and_port(server: &str) -> Option<(String, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(fits) {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Allowed {
        let entries = [
            "https://hooks.slack.com",
            "smtp://Mail.example.com:587",
            "smtp://127.0.0.1:25",
        ];
        Allowed::new(entries).expect("a valid list")
    }

    #[test]
    fn a_mail_server_is_compared_by_name_and_port() {
        let mail = |server| allowed().mail(server);
        assert_eq!(
            mail("mail.example.com:587"),
            Ok(("mail.example.com".into(), 587))
        );
        assert_eq!(
            mail("MAIL.example.com:587"),
            Ok(("mail.example.com".into(), 587))
        );
        for server in ["mail.example.com:25", "example.com:587", "127.0.0.1:587"] {
            let said = mail(server).expect_err(server);
            assert_eq!(
                said,
                "is not allowed; allowed mail servers: mail.example.com:587, 127.0.0.1:25"
            );
        }
        for server in [
            "mail.example.com",
            "mail:x",
            ":25",
            "a b:25",
            "mail:0",
            "u@h:25",
        ] {
            assert!(mail(server).expect_err(server).starts_with("is no server"));
        }
    }

    #[test]
    fn of_a_url_in_a_secret_no_more_than_the_origin_is_repeated() {
        let secret = |url| allowed().secret(url);
        assert!(secret("https://hooks.slack.com/services/T0/B0/x").is_ok());
        for url in [
            "https://hooks.evil.example/services/T0/B0/t0psecret?sig=t0psecret",
            "ftp://t0psecret",
            "https://me:t0psecret@hooks.slack.com/x",
            "t0psecret",
            "https://hooks.slack.com/a%2ft0psecret",
            "https://hooks.slack.com/x#t0psecret",
        ] {
            let said = secret(url).expect_err(url);
            assert!(!said.contains("t0psecret"), "{said}");
        }
        let said = secret("https://hooks.evil.example/services/x").expect_err("elsewhere");
        assert_eq!(
            said,
            "the host of its `url` is not allowed (https://hooks.evil.example); allowed: \
             https://hooks.slack.com"
        );
    }

    #[test]
    fn an_entry_that_is_no_address_is_refused() {
        for entry in [
            "smtp://mail",
            "mail.example.com:25",
            "smtps://mail.example.com:465",
        ] {
            assert!(Allowed::new([entry]).is_err(), "{entry}");
        }
    }
}
