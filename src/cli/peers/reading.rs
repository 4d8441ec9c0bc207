//! How the objects of a peer are read, as the command line says it.

use anyhow::bail;
use qianli_model::charset::TextEncoding;
use qianli_model::peer::Coercions;

/// How objects of the peer are read. What is stored stays as it was sent.
#[derive(clap::Args)]
pub(super) struct ReadAs {
    /// What text is in objects that state no character set: gb18030, euc-kr, shift_jis, ...; any: it is
    /// guessed.
    #[arg(long, value_name = "NAME|any")]
    charset: Option<String>,
    /// What text really is where a single-byte character set is stated; any: what is stated.
    #[arg(long, value_name = "NAME|any")]
    charset_instead: Option<String>,
    /// Issuer of Patient ID of objects that name none; empty for none. It keeps apart patients of two
    /// hospitals who have the same ID.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Private creators, separated by commas, whose elements are left out of metadata and index; * for
    /// all, - for elements without a creator; empty for none.
    #[arg(long, value_name = "CREATOR,...", allow_hyphen_values = true)]
    without: Option<String>,
}

fn encoding(text: &str) -> anyhow::Result<Option<TextEncoding>> {
    match text {
        "any" => Ok(None),
        name => Ok(Some(name.parse()?)),
    }
}

impl ReadAs {
    /// Whether anything of it was said.
    pub(super) fn is_said(&self) -> bool {
        let Self { charset, charset_instead, issuer, without } = self;
        [charset, charset_instead, issuer, without].into_iter().any(Option::is_some)
    }

    /// What was said, and what was before.
    pub(super) fn apply(self, before: Option<Coercions>) -> anyhow::Result<Coercions> {
        let mut now = before.unwrap_or_default();
        if let Some(text) = self.charset {
            now.charset = encoding(&text)?;
        }
        if let Some(text) = self.charset_instead {
            now.charset_instead = encoding(&text)?;
        }
        if let Some(text) = self.issuer
            && !now.set_issuer(&text)
        {
            bail!("an issuer is text of at most 64 characters without commas and backslashes");
        }
        if let Some(text) = self.without
            && !now.set_without(text.split(',').filter(|one| !one.trim().is_empty()))
        {
            bail!("--without names at most 16 private creators of at most 64 characters");
        }
        Ok(now)
    }
}
