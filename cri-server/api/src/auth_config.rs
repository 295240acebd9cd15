//! `Debug` of registry credentials: says which are there, never what they are.

use std::fmt;

use crate::v1::AuthConfig;

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |secret: &str| if secret.is_empty() { "" } else { "***" };
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("password", &masked(&self.password))
            .field("auth", &masked(&self.auth))
            .field("server_address", &self.server_address)
            .field("identity_token", &masked(&self.identity_token))
            .field("registry_token", &masked(&self.registry_token))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_shows() {
        let auth = AuthConfig {
            password: "hunter2".into(),
            ..Default::default()
        };
        let shown = format!("{auth:?}");
        assert!(
            shown.contains("***") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
