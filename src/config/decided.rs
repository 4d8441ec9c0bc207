//! What follows from the settings of a running process, and how they are shown.

use std::fmt;

use qianli_web::Logins;

use super::Config;

impl Config {
    /// Whether browsers reach this node by HTTPS only.
    pub fn is_https(&self) -> bool {
        let public = self.public_url.as_deref();
        self.tls.is_some() || public.is_some_and(|url| url.starts_with("https://"))
    }

    /// How people log in; `None` with `no_auth`.
    pub fn logins(&self) -> Option<Logins> {
        (!self.no_auth).then(|| Logins {
            lifetime: self.session_lifetime,
            idle: self.session_idle,
            https: self.is_https(),
        })
    }

    /// The database for people, without a password.
    pub fn database_for_people(&self) -> String {
        match self.database.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://***@{host}"),
                None => self.database.clone(),
            },
            None => self.database.clone(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("http", &self.http)
            .field("dimse", &self.dimse)
            .field("database", &self.database_for_people())
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
