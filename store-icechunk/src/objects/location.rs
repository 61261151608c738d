//! URLs, and what each part of one says.

use std::fmt;
use std::path::PathBuf;

use bigarray_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use url::Url;

/// Where a database on object storage is. `Display` is its URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The kind of storage, with the name that says which one.
    pub provider: Provider,
    /// What stands before the name of each object, without slashes at its ends; empty for a directory and in memory.
    pub prefix: String,
}

/// A kind of storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// `s3://BUCKET/PREFIX`.
    S3 {
        /// Its name.
        bucket: String,
    },
    /// `gs://BUCKET/PREFIX`: Google Cloud Storage.
    Google {
        /// Its name.
        bucket: String,
    },
    /// `az://CONTAINER/PREFIX`: Azure Blob Storage; the account is `AZURE_STORAGE_ACCOUNT_NAME`.
    Azure {
        /// Its name.
        container: String,
    },
    /// `file:///DIRECTORY`.
    Directory {
        /// Absolute.
        path: PathBuf,
    },
    /// `memory://NAME`: lives as long as the process, which shares it by its name.
    Memory {
        /// Which one.
        name: String,
    },
}

/// What a URL may be.
const FORMS: &str = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, file:///DIRECTORY or memory://NAME";

impl Location {
    /// Takes `url` apart.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying what to write instead. A URL that may contain a key is not shown.
    pub fn parse(url: &str) -> Result<Location> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(invalid(format!("{url:?} is no URL: it is {FORMS}; for a path alone open a directory")));
        };
        if scheme != "file" && rest.contains('@') {
            let text = "keys are never a part of the URL: they are in the environment, or Options::credentials";
            return Err(invalid(text));
        }
        if rest.contains(['?', '#']) {
            let text =
                "a URL has no query and no fragment here: settings are Options; in file:///, ? is %3F and # is %23";
            return Err(invalid(text));
        }
        match scheme {
            "s3" => in_bucket(url, rest, |bucket| Provider::S3 { bucket }),
            "gs" => in_bucket(url, rest, |bucket| Provider::Google { bucket }),
            "az" => in_bucket(url, rest, |container| Provider::Azure { container }),
            "file" => directory(url),
            "memory" => match rest.strip_prefix("//").filter(|name| is_name(name)) {
                Some(name) => {
                    Ok(Location { provider: Provider::Memory { name: name.to_owned() }, prefix: String::new() })
                }
                None => {
                    Err(invalid(format!("{url}: write memory://NAME, with letters, digits, '.', '-' and '_' in NAME")))
                }
            },
            _ => Err(invalid(format!("{scheme}: is not known: a URL is {FORMS}"))),
        }
    }
}

/// `//NAME/PREFIX`.
fn in_bucket(url: &str, rest: &str, provider: impl FnOnce(String) -> Provider) -> Result<Location> {
    let (bucket, prefix) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => return Err(invalid(format!("{url}: two slashes follow the colon: {FORMS}"))),
    };
    if bucket.contains(':') {
        let text = format!("{url}: a bucket has no port: the server's URL is Options::endpoint");
        return Err(invalid(text));
    }
    if !is_name(bucket) {
        let text = format!("{url}: {bucket:?} is no name of a bucket: letters, digits, '.', '-' and '_'");
        return Err(invalid(text));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() {
        let text = format!(
            "{url} names no prefix: a database shares its bucket with others, so write {}/NAME",
            url.trim_end_matches('/')
        );
        return Err(invalid(text));
    }
    // The client writes what it keeps from keys in another way, and then other programs look elsewhere.
    if Path::from(prefix).as_ref() != prefix {
        let text = format!(
            "{url}: the prefix {prefix:?} has a part that is empty, '.' or '..', or is not of plain characters: ASCII without control characters and without \\ {{ }} ^ % ` [ ] \" < > ~ | * ? #"
        );
        return Err(invalid(text));
    }
    Ok(Location { provider: provider(bucket.to_owned()), prefix: prefix.to_owned() })
}

fn directory(url: &str) -> Result<Location> {
    let path = match Url::parse(url) {
        Ok(parsed) if url.starts_with("file:///") => parsed.to_file_path().ok(),
        _ => None,
    };
    match path {
        Some(path) => Ok(Location { provider: Provider::Directory { path }, prefix: String::new() }),
        None => Err(invalid(format!("{url}: write file:// and an absolute path, as in file:///srv/arrays"))),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.provider {
            Provider::S3 { bucket } => write!(f, "s3://{bucket}/{}", self.prefix),
            Provider::Google { bucket } => write!(f, "gs://{bucket}/{}", self.prefix),
            Provider::Azure { container } => write!(f, "az://{container}/{}", self.prefix),
            Provider::Directory { path } => write!(f, "file://{}", path.display()),
            Provider::Memory { name } => write!(f, "memory://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let error = Location::parse(url).unwrap_err();
        assert!(error.is_invalid());
        error.to_string()
    }

    #[test]
    fn each_kind_of_url_is_taken_apart_and_put_together_again() {
        let s3 = Location::parse("s3://my.bucket-1/a/b c/").unwrap();
        assert_eq!(s3, Location { provider: Provider::S3 { bucket: "my.bucket-1".into() }, prefix: "a/b c".into() });
        assert_eq!(s3.to_string(), "s3://my.bucket-1/a/b c");
        let google = Location::parse("gs://b/p").unwrap();
        assert_eq!((google.provider, google.prefix.as_str()), (Provider::Google { bucket: "b".into() }, "p"));
        let azure = Location::parse("az://c/p").unwrap();
        assert_eq!((azure.to_string(), azure.provider), ("az://c/p".into(), Provider::Azure { container: "c".into() }));
        for url in ["file:///srv/my%20arrays", "file:///srv/my arrays/"] {
            let Provider::Directory { path } = Location::parse(url).unwrap().provider else { panic!("{url}") };
            assert_eq!(path.components().as_path(), std::path::Path::new("/srv/my arrays"));
        }
        let memory = Location::parse("memory://test_1").unwrap();
        assert_eq!((memory.to_string(), memory.prefix.as_str()), ("memory://test_1".into(), ""));
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for (url, says) in [
            ("/srv/arrays", "open a directory"),
            ("http://host/a", "s3://BUCKET/PREFIX"),
            ("s3:bucket/a", "two slashes"),
            ("s3://bucket", "write s3://bucket/NAME"),
            ("s3://bucket/", "write s3://bucket/NAME"),
            ("s3:///a", "no name of a bucket"),
            ("s3://127.0.0.1:9000/bucket/a", "Options::endpoint"),
            ("s3://bucket/a//b", "empty, '.' or '..'"),
            ("s3://bucket/a/../b", "empty, '.' or '..'"),
            ("s3://bucket/a%20b", "%"),
            ("s3://bucket/ö", "ASCII"),
            ("file://arrays", "file:///srv/arrays"),
            ("file:arrays", "file:///srv/arrays"),
            ("file://host/arrays", "file:///srv/arrays"),
            ("file:///a#1", "%23"),
            ("memory://", "memory://NAME"),
            ("memory://a/b", "memory://NAME"),
        ] {
            let text = refusal(url);
            assert!(text.contains(says), "{url}: {text}");
        }
    }

    #[test]
    fn a_url_with_a_key_in_it_is_not_shown() {
        for url in ["s3://AKIA:hushhush@bucket/a", "az://c/p?sig=hushhush", "http://u:hushhush@host/a", "hushhush:x@y"]
        {
            let text = refusal(url);
            assert!(!text.contains("hushhush"), "{text}");
        }
    }
}
