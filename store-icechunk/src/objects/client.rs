//! The client of each kind of storage, with limits of ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::sync::Mutex;
use bigarray_core::{Error, ErrorKind, Result};
use bigarray_process::PerProcess;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig, StaticCredentialProvider};
use url::Url;

use super::local::Directory;
use super::location::{Location, Provider};
use crate::options::{Credentials, Options};

/// A server that is there takes a connection at once, or never.
const CONNECT: Duration = Duration::from_secs(5);

/// Stores in memory by their names.
static MEMORIES: PerProcess<Mutex<HashMap<String, Arc<InMemory>>>> = PerProcess::new();

/// A client, and what tells its server from others that have buckets of the same names: URL and account, without keys.
pub(super) struct Connected {
    pub(super) client: Arc<dyn ObjectStore>,
    pub(super) server: String,
}

/// The client for `location`. It sends nothing yet.
pub(super) fn connect(location: &Location, options: &Options) -> Result<Connected> {
    let (client, server): (Arc<dyn ObjectStore>, String) = match &location.provider {
        Provider::S3 { bucket } => s3(bucket, location, options)?,
        Provider::Google { bucket } => google(bucket, location, options)?,
        Provider::Azure { container } => azure(container, location, options)?,
        Provider::Directory { path } => (Arc::new(Directory::open(path, options.create)?), String::new()),
        Provider::Memory { name } => {
            let mut memories = MEMORIES.get().lock();
            (memories.entry(name.clone()).or_default().clone(), String::new())
        }
    };
    let client = match &options.adapter {
        Some(adapter) => adapter.wrap(client),
        None => client,
    };
    Ok(Connected { client, server })
}

fn s3(bucket: &str, location: &Location, options: &Options) -> Result<(Arc<dyn ObjectStore>, String)> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries(options));
    // Even where the environment says otherwise: without conditions commits are lost.
    builder = builder.with_conditional_put(S3ConditionalPut::ETagMatch);
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let of_environment =
        [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint].map(|key| builder.get_config_value(&key));
    let endpoint = options.endpoint.clone().or_else(|| of_environment.into_iter().flatten().next());
    if let Some(endpoint) = &endpoint {
        check_endpoint(location, endpoint)?;
        // This key wins over the other one.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    for (key, value) in limits(options, endpoint.as_deref()) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    builder = match &options.credentials {
        Credentials::Environment => builder,
        Credentials::Keys { access_key_id, secret_access_key, session_token } => {
            builder.with_credentials(Arc::new(StaticCredentialProvider::new(AwsCredential {
                key_id: access_key_id.clone(),
                secret_key: secret_access_key.clone(),
                token: session_token.clone(),
            })))
        }
        Credentials::Anonymous => builder.with_skip_signature(true),
    };
    Ok((built(location, builder.build())?, without_keys(endpoint)))
}

fn google(bucket: &str, location: &Location, options: &Options) -> Result<(Arc<dyn ObjectStore>, String)> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retries(options));
    if let Some(endpoint) = &options.endpoint {
        check_endpoint(location, endpoint)?;
        builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
    }
    for (key, value) in limits(options, options.endpoint.as_deref()) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    if is_anonymous(location, options)? {
        builder = builder.with_skip_signature(true);
    }
    let server = without_keys(builder.get_config_value(&GoogleConfigKey::BaseUrl));
    Ok((built(location, builder.build())?, server))
}

fn azure(container: &str, location: &Location, options: &Options) -> Result<(Arc<dyn ObjectStore>, String)> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retries(options));
    if let Some(endpoint) = &options.endpoint {
        check_endpoint(location, endpoint)?;
        builder = builder.with_config(AzureConfigKey::Endpoint, endpoint);
    }
    for (key, value) in limits(options, options.endpoint.as_deref()) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    if is_anonymous(location, options)? {
        builder = builder.with_skip_signature(true);
    }
    let account = builder.get_config_value(&AzureConfigKey::AccountName).unwrap_or_default();
    let server = format!("{account} {}", without_keys(builder.get_config_value(&AzureConfigKey::Endpoint)));
    Ok((built(location, builder.build())?, server))
}

/// Whether requests are not signed, where keys are taken from the environment only.
fn is_anonymous(location: &Location, options: &Options) -> Result<bool> {
    match options.credentials {
        Credentials::Environment => Ok(false),
        Credentials::Anonymous => Ok(true),
        Credentials::Keys { .. } => {
            let text = format!("{location}: Credentials::Keys are for S3; others take theirs from the environment");
            Err(Error::new(ErrorKind::Invalid, text))
        }
    }
}

/// Refuses what would be shown with the keys in it, and what is no URL of a server.
fn check_endpoint(location: &Location, endpoint: &str) -> Result<()> {
    if endpoint.contains('@') {
        let text = format!(
            "{location}: keys are never a part of the endpoint: they are in the environment, or Options::credentials"
        );
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        let text =
            format!("{location}: the endpoint {endpoint:?} is no URL of a server: write it as https://host:port");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(())
}

/// The endpoint without the parts of a URL that may have keys; empty for the provider's own.
fn without_keys(endpoint: Option<String>) -> String {
    let url = endpoint.and_then(|endpoint| Url::parse(&endpoint).ok());
    url.map_or_else(String::new, |url| format!("{}{}", url.origin().ascii_serialization(), url.path()))
}

/// Limits of a try. How long a request may take depends on its bytes, and is kept in `guarded`; a limit for reading counts
/// the time of writing, too, in this client.
fn limits(options: &Options, endpoint: Option<&str>) -> Vec<(ClientConfigKey, String)> {
    let connect = CONNECT.min(options.deadline / 3).as_millis().max(1);
    let mut limits = vec![
        (ClientConfigKey::Timeout, "1 day".to_owned()),
        (ClientConfigKey::ReadTimeout, "1 day".to_owned()),
        (ClientConfigKey::ConnectTimeout, format!("{connect} ms")),
    ];
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        limits.push((ClientConfigKey::AllowHttp, "true".to_owned()));
    }
    limits
}

fn retries(options: &Options) -> RetryConfig {
    let (init_backoff, max_backoff) = (Duration::from_millis(50), Duration::from_secs(1));
    let backoff = BackoffConfig { init_backoff, max_backoff, base: 2. };
    RetryConfig { backoff, max_retries: 4, retry_timeout: options.deadline }
}

/// Shows nothing of a builder's error: a key of the environment that it could not read may be in it.
fn built<S: ObjectStore>(location: &Location, built: object_store::Result<S>) -> Result<Arc<dyn ObjectStore>> {
    let variables = match location.provider {
        Provider::Google { .. } => "GOOGLE_",
        Provider::Azure { .. } => "AZURE_",
        _ => "AWS_",
    };
    match built {
        Ok(client) => Ok(Arc::new(client)),
        Err(_) => {
            let text = format!(
                "{location}: the settings of its client cannot be used: look at the options region, endpoint and \
                 credentials, and at the environment variables that begin with {variables}"
            );
            Err(Error::new(ErrorKind::Invalid, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_one_name_on_several_servers_are_told_apart() {
        let location = Location::parse("s3://bucket/climate").unwrap();
        let server = |endpoint: &str| {
            let options = Options { endpoint: Some(endpoint.to_owned()), ..Options::default() };
            connect(&location, &options).unwrap().server
        };
        assert_eq!(server("http://10.0.0.5:9000"), "http://10.0.0.5:9000/");
        assert_eq!(server("https://10.0.0.5:9000"), "https://10.0.0.5:9000/");
        assert_eq!(server("http://other:9000/minio"), "http://other:9000/minio");
    }

    #[test]
    fn no_key_tells_servers_apart() {
        let shown = without_keys(Some("https://user:secret@host/account?sig=secret#secret".to_owned()));
        assert_eq!(shown, "https://host/account");
        assert_eq!(without_keys(None), "");
    }
}
