//! Servers that do not answer, or refuse.

use std::net::TcpListener;
use std::time::Duration;

use bigarray_core::{Error, ErrorKind};
use bigarray_store_icechunk::Options;
use bytes::Bytes;

use crate::server::{Answers, options, start};
use crate::{number, open};

/// Short: what is waited for never comes.
const DEADLINE: Duration = Duration::from_millis(600);

fn impatient(endpoint: &str) -> Options {
    Options { deadline: DEADLINE, ..options(endpoint) }
}

fn check_shown(error: &Error) {
    let mut shown = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        shown.push_str(&format!("{error} {error:?}"));
        cause = error.source();
    }
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_server_that_takes_connections_and_never_answers() {
    let server = start(Answers::Nothing);
    let objects = open("s3://bucket/arrays", &impatient(&server.endpoint)).unwrap();
    for error in [objects.get("ID", 0..10).unwrap_err(), objects.put("ID", Bytes::from_static(b"abc")).unwrap_err()] {
        assert!(error.is_unavailable(), "{error:?}");
        assert!(error.to_string().contains("s3://bucket/arrays/chunks/ID"), "{error}");
        check_shown(&error);
    }
    for error in [
        objects.list("overwritten").unwrap_err(),
        objects.delete(&["chunks/ID".to_owned()]).unwrap_err(),
        // As icechunk sees it.
        number(&objects, "repo").unwrap_err(),
    ] {
        assert!(error.is_unavailable() && error.to_string().contains("s3://bucket/arrays"), "{error:?}");
        check_shown(&error);
    }
    assert!(server.requests.lock().unwrap().iter().any(|line| line.starts_with("GET /bucket/arrays/chunks/ID ")));
}

#[test]
fn a_server_that_stops_in_the_middle_of_a_chunk() {
    let server = start(Answers::Half);
    let objects = open("s3://bucket/arrays", &impatient(&server.endpoint)).unwrap();
    let error = objects.get("ID", 0..10).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("arrays/chunks/ID"), "{error:?}");
    let error = number(&objects, "repo").unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

#[test]
fn a_server_that_sends_a_byte_now_and_then() {
    let objects = open("s3://bucket/arrays", &impatient(&start(Answers::Drops).endpoint)).unwrap();
    let error = number(&objects, "repo").unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("s3://bucket/arrays/repo"), "{error:?}");
}

#[test]
fn a_port_with_no_server() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let objects = open("s3://bucket/arrays", &options(&format!("http://{free}"))).unwrap();
    let error = objects.get("ID", 0..10).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("Connection refused"), "{error:?}");
    check_shown(&error);
}

#[test]
fn what_a_server_refuses_says_what_to_do() {
    let no_bucket = "<Error><Code>NoSuchBucket</Code></Error>";
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    for (answers, kind, says) in [
        (Answers::Everything, ErrorKind::Io, "403 Forbidden (SignatureDoesNotMatch); the keys are wrong"),
        (Answers::With("403 Forbidden", denied), ErrorKind::Io, "(AccessDenied); these keys may not do that"),
        (Answers::With("404 Not Found", no_bucket), ErrorKind::Io, "create the bucket first"),
        (Answers::With("404 Not Found", ""), ErrorKind::Corrupt, "404 Not Found"),
        (Answers::With("503 Service Unavailable", ""), ErrorKind::Unavailable, "503 Service Unavailable; try again"),
        (Answers::With("500 Internal Server Error", ""), ErrorKind::Unavailable, "500 Internal Server Error"),
    ] {
        let objects = open("s3://bucket/arrays", &options(&start(answers).endpoint)).unwrap();
        let error = objects.get("ID", 0..10).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains("GET s3://bucket/arrays/chunks/ID: ") && text.contains(says), "{text}");
        check_shown(&error);
        check_shown(&number(&objects, "repo").unwrap_err());
    }
}

#[test]
fn keys_are_shown_nowhere() {
    let options = options("http://127.0.0.1:1");
    let objects = open("s3://bucket/arrays", &options).unwrap();
    let storage = objects.backend().storage();
    let shown = format!("{options:?} {objects:?} {storage:?} {storage} {:?}", storage.storage_info());
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("s3://bucket/arrays"), "{shown}");
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let with = |endpoint: &str| options(endpoint);
    for (url, options, says) in [
        ("s3://bucket/arrays", with("127.0.0.1:9000"), "https://host:port"),
        (
            "s3://bucket/arrays",
            with("http://hush-id:hush-secret@127.0.0.1:9000"),
            "keys are never a part of the endpoint",
        ),
        ("gs://bucket/arrays", with("http://127.0.0.1:9000"), "Credentials::Keys are for S3"),
        ("az://bucket/arrays", with("http://127.0.0.1:9000"), "Credentials::Keys are for S3"),
    ] {
        let error = open(url, &options).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(says), "{error:?}");
        check_shown(&error);
    }
}
