//! Keys that the server refuses.

use std::env;

use bigarray::{Credentials, Database};

use crate::server::Server;

#[test]
fn wrong_keys_are_refused_and_shown_nowhere() {
    let Some(server) = Server::without_machines() else { return };
    let known = env::var("AWS_ACCESS_KEY_ID").unwrap();
    for id in ["hush-id", &known] {
        let wrong = Credentials::Keys {
            access_key_id: id.to_owned(),
            secret_access_key: "hush-secret".to_owned(),
            session_token: None,
        };
        let error = Database::options().credentials(wrong).open_url(server.name()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(error.is_io() && shown.contains(server.name()) && shown.contains("the keys are wrong"), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
}
