//! Errors of object storage in bigarray's words.
//!
//! A server sends back much of what it was sent, a temporary key included, so that nothing of an answer is kept but its
//! status and its code.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use bigarray_core::{Error, ErrorKind};
use icechunk::storage::StorageErrorKind;
use object_store::client::HttpError;
use object_store::{Error as ObjectError, Result as ObjectResult};

/// Why a request failed: what may be shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: ErrorKind,
    /// As `GET s3://bucket/prefix/chunks/ID`.
    request: String,
    reason: String,
}

impl Failure {
    /// That `request` had no answer within the deadline.
    pub(super) fn late(request: String, deadline: std::time::Duration) -> Failure {
        Failure { kind: ErrorKind::Unavailable, request, reason: format!("no answer within {deadline:?}; try again") }
    }

    /// Takes from `error` what may be shown.
    fn of(request: String, error: &ObjectError) -> Failure {
        let answer = Answer::of(error);
        let kind = kind_of(error, &answer);
        let mut reason = match &answer.status {
            Some(status) if answer.code.is_empty() => status.clone(),
            Some(status) => format!("{status} ({})", answer.code),
            None => answer.cause.clone(),
        };
        if let Some(advice) = advice(error, &answer) {
            reason.push_str("; ");
            reason.push_str(advice);
        }
        Failure { kind, request, reason }
    }

    /// The failure that `error` comes from, however often it was wrapped.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Failure> {
        causes(error).find_map(|cause| cause.downcast_ref::<Failure>())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.request, self.reason)
    }
}

impl StdError for Failure {}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Error {
        Error::new(failure.kind, failure.to_string())
    }
}

/// The same error with a [`Failure`] in place of what the client says.
pub(super) fn shown<T>(result: ObjectResult<T>, request: impl FnOnce() -> String) -> ObjectResult<T> {
    result.map_err(|error| match Failure::find(&error) {
        Some(_) => error,
        None => {
            let source = Box::new(Failure::of(request(), &error));
            in_place_of(error, source)
        }
    })
}

/// `error`, which icechunk tells by its variant, with another source.
fn in_place_of(error: ObjectError, source: Box<Failure>) -> ObjectError {
    match error {
        ObjectError::NotFound { path, .. } => ObjectError::NotFound { path, source },
        ObjectError::AlreadyExists { path, .. } => ObjectError::AlreadyExists { path, source },
        ObjectError::Precondition { path, .. } => ObjectError::Precondition { path, source },
        ObjectError::NotModified { path, .. } => ObjectError::NotModified { path, source },
        ObjectError::PermissionDenied { path, .. } => ObjectError::PermissionDenied { path, source },
        ObjectError::Unauthenticated { path, .. } => ObjectError::Unauthenticated { path, source },
        ObjectError::NotSupported { .. } | ObjectError::NotImplemented { .. } => ObjectError::NotSupported { source },
        _ => ObjectError::Generic { store: "objects", source },
    }
}

/// An error of `icechunk` or `object_store`, in bigarray's words; `what` was tried.
///
/// Where a request failed its kind and text are those of the request. Anything else is what icechunk says of what it read:
/// [`ErrorKind::Corrupt`].
pub fn explain(what: impl fmt::Display, error: &(dyn StdError + 'static)) -> Error {
    // icechunk says this one in its own words, and drops what the request said.
    let is_missing = |cause: &(dyn StdError + 'static)| {
        matches!(cause.downcast_ref::<StorageErrorKind>(), Some(StorageErrorKind::ObjectNotFound))
    };
    match Failure::find(error) {
        Some(failure) => Error::from(failure).context(what),
        None if causes(error).any(is_missing) => Error::new(ErrorKind::NotFound, format!("{what}: {error}")),
        None => Error::new(ErrorKind::Corrupt, format!("{what}: {error}")),
    }
}

/// What an answer says that holds no key.
struct Answer {
    /// As `403 Forbidden`; `None` if there was no answer.
    status: Option<String>,
    /// S3's and Azure's word for it, as `SlowDown`; or empty.
    code: String,
    /// What failed at the bottom, if there was no answer.
    cause: String,
}

impl Answer {
    fn of(error: &ObjectError) -> Answer {
        let text = causes(error)
            .map(|cause| cause.to_string())
            .find(|text| text.starts_with(REFUSED) || text.starts_with(FAILED));
        let Some(text) = text else {
            let cause = causes(error).last().expect("an error is a cause of itself").to_string();
            return Answer { status: None, code: String::new(), cause };
        };
        let status = match text.strip_prefix(REFUSED) {
            Some(rest) => rest.split(':').next().unwrap_or_default().to_owned(),
            None => "an error in place of the result".to_owned(),
        };
        let code =
            text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
        let is_word = code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphabetic());
        let code = if is_word { code.to_owned() } else { String::new() };
        Answer { status: Some(status), code, cause: String::new() }
    }

    fn has(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    fn number(&self) -> u16 {
        self.status.as_deref().and_then(|status| status.get(..3)).and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// How `object_store` begins what a server refused; the status follows, a colon, and all that the server sent.
const REFUSED: &str = "Server returned non-2xx status code: ";

/// How it begins an error that came with the status of a success.
const FAILED: &str = "Server returned error response: ";

/// How it begins that a range starts behind the end of an object, where no server says it with status 416.
const TOO_SHORT: &str = "Wanted range starting at ";

/// Codes of S3 for keys that are wrong, with status 400 or 403.
const WRONG_KEYS: [&str; 5] =
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"];

/// Those of S3 and of Azure for a bucket that is absent, with status 404 as an object that is.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

fn kind_of(error: &ObjectError, answer: &Answer) -> ErrorKind {
    match error {
        ObjectError::NotFound { .. } if answer.has(&NO_BUCKET) => ErrorKind::Io,
        ObjectError::NotFound { .. } => ErrorKind::NotFound,
        ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. } => ErrorKind::Conflict,
        ObjectError::NotSupported { .. } | ObjectError::NotImplemented { .. } => ErrorKind::Unsupported,
        ObjectError::Generic { .. } => match answer.number() {
            // In the middle of an answer with the status of a success, too.
            0 if answer.status.is_some() => ErrorKind::Unavailable,
            0 => without_answer(error),
            // The object is shorter than a reference to it says.
            416 => ErrorKind::Corrupt,
            501 => ErrorKind::Unsupported,
            408 | 429 | 500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        },
        _ => ErrorKind::Io,
    }
}

fn without_answer(error: &ObjectError) -> ErrorKind {
    let disk = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let went_over_the_net = causes(error).any(|cause| cause.is::<HttpError>());
    match disk {
        _ if causes(error).any(|cause| cause.to_string().starts_with(TOO_SHORT)) => ErrorKind::Corrupt,
        _ if went_over_the_net => ErrorKind::Unavailable,
        Some(disk) => Error::io("", io::Error::from(disk.kind())).kind(),
        None => ErrorKind::Io,
    }
}

fn advice(error: &ObjectError, answer: &Answer) -> Option<&'static str> {
    let is_denied = matches!(error, ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. });
    if answer.has(&NO_BUCKET) {
        return Some("create the bucket first");
    }
    if answer.has(&["RequestTimeTooSkewed"]) {
        return Some("set the clock of this machine");
    }
    if answer.has(&["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"])
        || matches!(answer.number(), 301 | 307)
        || answer.cause.contains("incorrectly configured region")
    {
        return Some("the bucket is in another region: set Options::region or AWS_REGION");
    }
    if answer.has(&WRONG_KEYS) || matches!(error, ObjectError::Unauthenticated { .. }) {
        return Some("the keys are wrong or have expired: check those of the environment, or Options::credentials");
    }
    if is_denied {
        return Some("these keys may not do that: check the rights that the bucket grants them");
    }
    // Where machines of a cloud ask for the keys of their role.
    if answer.status.is_none() && causes(error).any(|cause| cause.to_string().contains("169.254.")) {
        return Some(
            "no keys are in the environment, and no role of this machine gives any: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        );
    }
    (kind_of(error, answer) == ErrorKind::Unavailable).then_some("try again")
}

/// `error`, what it comes from, and so on.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Says(String);
    impl fmt::Display for Says {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }
    impl StdError for Says {}

    fn refused(status: &str, body: &str) -> ObjectError {
        ObjectError::Generic { store: "S3", source: Box::new(Says(format!("{REFUSED}{status}: {body}"))) }
    }

    fn error(of: ObjectError) -> Error {
        let shown = shown::<()>(Err(of), || "GET s3://b/p/chunks/1".to_owned()).unwrap_err();
        assert!(!format!("{shown:?} {shown}").contains("hushhush"));
        explain("reading", &shown)
    }

    #[test]
    fn nothing_of_an_answer_is_shown_but_its_status_and_code() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>x-amz-security-token:hushhush</CanonicalRequest></Error>";
        let error = error(refused("400 Bad Request", body));
        let text = error.to_string();
        assert!(
            text.starts_with(
                "reading: GET s3://b/p/chunks/1: 400 Bad Request (SignatureDoesNotMatch); the keys are wrong"
            ),
            "{text}"
        );
        assert!(error.is_io() && std::error::Error::source(&error).is_none());
        assert!(
            !super::tests::error(refused("400 Bad Request", "<Code>hushhush hushhush</Code>"))
                .to_string()
                .contains("hush")
        );
    }

    #[test]
    fn the_kind_says_whether_trying_again_helps() {
        for (status, kind) in [
            ("500 Internal Server Error", ErrorKind::Unavailable),
            ("503 Service Unavailable", ErrorKind::Unavailable),
            ("429 Too Many Requests", ErrorKind::Unavailable),
            ("416 Range Not Satisfiable", ErrorKind::Corrupt),
            ("501 Not Implemented", ErrorKind::Unsupported),
            ("400 Bad Request", ErrorKind::Io),
        ] {
            let error = error(refused(status, ""));
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.to_string().ends_with("; try again"), kind == ErrorKind::Unavailable, "{error}");
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(error(ObjectError::Generic { store: "", source: Box::new(full) }).is_store_full());
        let there = ObjectError::AlreadyExists { path: "a".into(), source: Box::new(Says("hushhush".into())) };
        assert!(matches!(shown::<()>(Err(there), String::new), Err(ObjectError::AlreadyExists { .. })));
    }

    #[test]
    fn advice_fits_the_code() {
        for (status, code, says) in [
            ("404 Not Found", "NoSuchBucket", "create the bucket"),
            ("403 Forbidden", "RequestTimeTooSkewed", "clock"),
            ("301 Moved Permanently", "PermanentRedirect", "region"),
            ("403 Forbidden", "InvalidAccessKeyId", "keys are wrong"),
        ] {
            let text = error(refused(status, &format!("<Code>{code}</Code>"))).to_string();
            assert!(text.contains(says), "{text}");
        }
        let denied = ObjectError::PermissionDenied { path: "a".into(), source: Box::new(Says("AccessDenied".into())) };
        assert!(error(denied).to_string().contains("rights"));
    }
}
