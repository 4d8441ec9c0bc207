//! A prefix of its own per node in the bucket that `QIANLI_TEST_S3` names, written
//! `endpoint|bucket|access key|secret`.

use super::unique;

/// An S3-compatible server and one of its buckets.
#[derive(Debug, Clone)]
pub struct Server {
    /// For example `http://127.0.0.1:9000`.
    pub endpoint: String,
    bucket: String,
    key: String,
    secret: String,
}

impl Server {
    /// Reads the four parts.
    pub fn parse(text: &str) -> Self {
        let parts: Vec<_> = text.split('|').map(str::to_owned).collect();
        let [endpoint, bucket, key, secret] = parts.try_into().unwrap_or_else(|_| {
            panic!("QIANLI_TEST_S3 is endpoint|bucket|key|secret, not {text}");
        });
        Self { endpoint, bucket, key, secret }
    }

    /// Host and port, for a proxy in between.
    pub fn address(&self) -> String {
        let rest = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, rest)| rest);
        rest.trim_end_matches('/').to_owned()
    }

    /// A store URL that no other node uses.
    pub fn fresh_store(&self) -> String {
        format!("s3://{}/test-{:x}", self.bucket, unique())
    }

    /// What the node must find in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_through(&self.endpoint)
    }

    /// The same through another endpoint (a proxy).
    pub fn environment_through(&self, endpoint: &str) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
