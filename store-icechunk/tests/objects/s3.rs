//! A real server of S3's protocol: `BIGARRAY_TEST_S3` is its URL, and its keys are in `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`. It has a bucket `bigarray`.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use bigarray_store_icechunk::{Credentials, Options};

use crate::{everywhere, open};

#[test]
fn on_a_server() {
    let Ok(endpoint) = env::var("BIGARRAY_TEST_S3") else {
        println!("SKIPPED: BIGARRAY_TEST_S3 is not set");
        return;
    };
    let options = Options { endpoint: Some(endpoint.clone()), ..Options::default() };
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    everywhere::check(&open(&format!("s3://bigarray/test {time}/arrays"), &options).unwrap());

    let wrong = Credentials::Keys {
        access_key_id: "hush-id".to_owned(),
        secret_access_key: "hush-secret".to_owned(),
        session_token: None,
    };
    let objects = open("s3://bigarray/test/arrays", &Options { credentials: wrong, ..options }).unwrap();
    match objects.get("ID", 0..1) {
        Err(error) if error.is_corrupt() => println!("this server checks no keys: {error}"),
        result => {
            let error = result.unwrap_err();
            assert!(
                error.is_io() && error.to_string().contains("keys") && !error.to_string().contains("hush"),
                "{error:?}"
            );
        }
    }
}
