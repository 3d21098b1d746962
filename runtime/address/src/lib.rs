//! Addresses of streams (`rtmp://...`): validation, references to secrets, and redaction.
//!
//! An address often holds a secret: a user's password, a token in its query, the key of an RTMP stream. Everything that is
//! printed or written to a file therefore goes through [`redacted`].
//!
//! A flow need not contain the secret: `env:NAME` or `file:PATH` in place of an address, or `{env:NAME}` and `{file:PATH}`
//! within one, are resolved by [`Address::resolve`] when the node starts.
#![forbid(unsafe_code)]

use std::{borrow::Cow, fmt, os::unix::fs::PermissionsExt, path::PathBuf};

use sideline_api::{Error, Result, config::did_you_mean, find_file};

/// Schemes that can be read, in the order of messages.
pub const SCHEMES: [&str; 6] = ["rtmp", "rtmps", "rtsp", "rtsps", "http", "https"];

/// Replacement for a secret.
const REDACTED: &str = "***";

/// Splits an address at `://` into its scheme and the rest; `None` if the text is not an address.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    is_scheme.then_some((scheme, rest))
}

/// Returns true for an address, `SCHEME://...`, of any scheme.
pub fn is_address(text: &str) -> bool {
    split_scheme(text).is_some()
}

/// Returns true if the address has one of these schemes, ignoring case.
pub fn has_scheme(address: &str, schemes: &[&str]) -> bool {
    split_scheme(address).is_some_and(|(scheme, _)| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)))
}

/// Splits the part after the scheme into user info, host with port, path, and query with fragment.
fn split_rest(rest: &str) -> (&str, &str, &str, &str) {
    let (before, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let end = before.find('/').unwrap_or(before.len());
    let (authority, path) = before.split_at(end);
    if let Some(at) = authority.rfind('@') {
        return (&authority[..at], &authority[at + 1..], path, query);
    }
    // A password that contains a slash, which should have been written %2F, must be redacted as well.
    let is_port_invalid = port(authority).is_some_and(|port| port.parse::<u16>().is_err());
    match before.rfind('@').filter(|_| is_port_invalid) {
        Some(at) => {
            let after = &before[at + 1..];
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            (&before[..at], authority, path, query)
        }
        None => ("", authority, path, query),
    }
}

/// Returns the text after the colon that follows the host. An IPv6 address is in brackets.
fn port(authority: &str) -> Option<&str> {
    let after = authority.rfind(']').map_or(authority, |bracket| &authority[bracket..]);
    after.split_once(':').map(|(_, port)| port)
}

/// Returns the host of an address, without brackets, and its port if it is given.
pub fn host(address: &str) -> Option<(&str, Option<u16>)> {
    let (_, authority, _, _) = split_rest(split_scheme(address)?.1);
    let port = port(authority);
    let host = &authority[..authority.len() - port.map_or(0, |port| port.len() + 1)];
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.and_then(|port| port.parse().ok())))
}

/// Returns the host of an address for a message in which the address appears as `name`: a host from a reference is secret.
pub fn host_for_display<'a>(host: &'a str, name: &str) -> &'a str {
    let is_secret = is_reference(name) || self::host(name).is_some_and(|(shown, _)| shown.contains(REDACTED));
    if is_secret { "its host" } else { host }
}

/// Checks that a text is a valid address of a stream.
///
/// # Errors
/// The problem and the remedy, without any secret of the address.
pub fn check(address: &str, schemes: &[&str]) -> Result<(), String> {
    let shown = redacted(address);
    // The values of references are not known yet; they are replaced by a word.
    let address = &*replace_references(address, |_, _| Ok("reference".into()))?;
    let Some((scheme, rest)) = split_scheme(address) else { return Err(format!("`{shown}` is no address")) };
    if !has_scheme(address, schemes) {
        let lower = scheme.to_lowercase();
        let hint = did_you_mean(&lower, schemes.iter().copied());
        let known: Vec<String> = schemes.iter().map(|known| format!("{known}://")).collect();
        return Err(format!("`{shown}`: `{scheme}://` is not known here{hint}; known are {}", known.join(", ")));
    }
    if address.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{shown}` contains a space: write it as %20"));
    }
    let (_, authority, path, _) = split_rest(rest);
    if host(address).is_none() {
        return Err(format!("`{shown}` names no host: write it after `{scheme}://`"));
    }
    if let Some(port) = port(authority).filter(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        // Digits are no secret; anything else may be part of a password.
        let port = if port.chars().all(|c| c.is_ascii_digit()) { port } else { REDACTED };
        return Err(format!(
            "`{shown}`: `{port}` is no port, a number from 1 to 65535 (a `/`, `@` or `:` in a password is written %2F, %40, %3A)"
        ));
    }
    if scheme.to_lowercase().starts_with("rtmp") && path.trim_matches('/').is_empty() {
        return Err(format!("`{shown}` names no stream: application and name must follow the host, `/APP/NAME`"));
    }
    Ok(())
}

/// Returns an address without its secrets: user info, query, and for RTMP the last segment of the path, which is the
/// stream key. A text that is not an address is returned unchanged.
pub fn redacted(address: &str) -> String {
    let replaced = replace_references(address, |_, _| Ok(REDACTED.into()));
    let address = replaced.as_deref().unwrap_or(address);
    let Some((scheme, rest)) = split_scheme(address) else { return address.to_owned() };
    let (user, authority, path, query) = split_rest(rest);
    let mut text = format!("{scheme}://");
    if !user.is_empty() {
        text += REDACTED;
        text += "@";
    }
    // An invalid port may be the first part of a password, and the text after it the rest of the password.
    if let Some(port) = port(authority).filter(|port| port.parse::<u16>().is_err()) {
        return text + &authority[..authority.len() - port.len() - 1] + "/" + REDACTED;
    }
    text += authority;
    // The path is `/app/key`, or `/app/instance/key`. An unknown scheme may be a misspelled RTMP, so its key is redacted too.
    let has_no_key = has_scheme(address, &["rtsp", "rtsps", "http", "https", "file"]);
    let key = path.trim_end_matches('/').rfind('/').filter(|at| *at > 0 && !has_no_key);
    match key {
        Some(at) => {
            text += &path[..=at];
            text += REDACTED;
        }
        None => text += path,
    }
    if !query.is_empty() {
        text += &query[..1];
        text += REDACTED;
    }
    text
}

/// Returns true for `env:NAME` and `file:PATH`, which stand for a whole address.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("env:") || (text.starts_with("file:") && !is_address(text))
}

/// Returns true for a network address or a reference to one.
pub fn is_remote(text: &str) -> bool {
    is_address(text) || is_reference(text)
}

/// Address to connect to. Only the text as written can be displayed; the values of references are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    resolved: String,
    written: String,
}

impl Address {
    /// Resolves the references of an address: environment variables of this process, and files, where relative paths are
    /// looked up in the folders of `search`. Values are trimmed; a value in the user info is percent-encoded.
    ///
    /// # Errors
    /// [`Failure::Config`](sideline_api::Failure::Config) when a reference has no value, or the result is no address of these
    /// schemes.
    pub fn resolve(written: &str, schemes: &[&str], search: &[PathBuf]) -> Result<Self> {
        let look_up = |reference: &str| look_up(reference, search);
        let resolved = if is_reference(written) {
            let value = look_up(written).map_err(Error::config)?;
            // Nothing of the value may appear in a message, so the reason why it is invalid is left out.
            if check(&value, schemes).is_err() {
                let known: Vec<String> = schemes.iter().map(|known| format!("{known}://")).collect();
                return Err(Error::config(format!(
                    "`{written}` does not stand for an address of a supported scheme ({}): check its value",
                    known.join(", ")
                )));
            }
            value
        } else {
            let value_of = |reference: &str, before: &str| {
                let value = look_up(reference)?;
                Ok(if is_user_info(written, before.len()) { percent_encoded(&value) } else { value })
            };
            let resolved = replace_references(written, value_of).map_err(Error::config)?.into_owned();
            check(written, schemes).map_err(Error::config)?;
            resolved
        };
        if resolved.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::config(format!("{}: the value of a reference contains a space", redacted(written))));
        }
        Ok(Self { resolved, written: written.to_owned() })
    }

    /// Returns the address with the values of its references, for the connection only: it contains secrets.
    pub fn resolved(&self) -> &str {
        &self.resolved
    }

    /// Returns the address for messages and reports, without secrets.
    pub fn redacted(&self) -> String {
        redacted(&self.written)
    }

    /// Replaces each `from`, such as a placeholder for the name of a stream, by `to`.
    pub fn replace(&self, from: &str, to: &str) -> Self {
        Self { resolved: self.resolved.replace(from, to), written: self.written.replace(from, to) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// Returns true if the byte at this index belongs to the user info.
fn is_user_info(address: &str, at: usize) -> bool {
    let Some((scheme, rest)) = split_scheme(address) else { return false };
    at < scheme.len() + "://".len() + split_rest(rest).0.len()
}

/// Returns the value of `env:NAME` or `file:PATH`.
fn look_up(reference: &str, search: &[PathBuf]) -> Result<String, String> {
    let (kind, name) = reference.split_once(':').unwrap_or((reference, ""));
    let value = match kind {
        "env" => std::env::var(name).map_err(|cause| match cause {
            std::env::VarError::NotPresent => {
                format!("`{reference}`: there is no environment variable `{name}`: set it for the process of this node")
            }
            std::env::VarError::NotUnicode(_) => format!("`{reference}`: its value is not UTF-8"),
        })?,
        _ => {
            let path = find_file(name.as_ref(), search).map_err(|missing| format!("`{reference}`: {missing}"))?;
            let fail = |cause| format!("`{reference}`: {} cannot be read: {cause}", path.display());
            let mode = std::fs::metadata(&path).map_err(fail)?.permissions().mode();
            if mode & 0o004 != 0 {
                tracing::warn!(
                    file = %path.display(),
                    "this file holds a secret, and every user of this machine may read it: run `chmod o-r` on it"
                );
            }
            std::fs::read_to_string(&path).map_err(fail)?
        }
    };
    match value.trim() {
        "" => Err(format!("`{reference}` is empty: it must hold the value")),
        value => Ok(value.to_owned()),
    }
}

/// Replaces each `{env:NAME}` and `{file:PATH}` by its value. `value` is called with the reference and the text before it.
fn replace_references(
    text: &str,
    value: impl Fn(&str, &str) -> Result<String, String>,
) -> Result<Cow<'_, str>, String> {
    let mut done = String::new();
    let mut from = 0;
    while let Some(at) = ["{env:", "{file:"].iter().filter_map(|sign| text[from..].find(sign)).min() {
        let at = from + at;
        let Some(length) = text[at..].find('}') else {
            return Err("the `{` of a reference is not closed by `}`".into());
        };
        done += &text[from..at];
        done += &value(&text[at + 1..at + length], &text[..at])?;
        from = at + length + 1;
    }
    if from == 0 {
        return Ok(text.into());
    }
    Ok((done + &text[from..]).into())
}

/// Percent-encodes a text for the user info of an address.
fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

/// Redacts every address in a text. Logs, errors and files of a run are written through this function.
pub fn redact_addresses(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("://") {
        return text.into();
    }
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let begin = at - rest[..at].chars().rev().take_while(|c| in_scheme(*c)).count();
        let is_delimiter = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>\\".contains(c);
        let end = rest[at..].find(is_delimiter).map_or(rest.len(), |length| at + length);
        // Punctuation at the end of a sentence or bracket does not belong to the address.
        let address = rest[begin..end].trim_end_matches([',', ';', '.', ':', ')', ']', '}']);
        done += &rest[..begin];
        done += &redacted(address);
        // Always advances past `://`, also where the text before it is no scheme, as in `1://`.
        let next = (begin + address.len()).max(at + 3);
        done += &rest[begin + address.len()..next];
        rest = &rest[next..];
    }
    (done + rest).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_addresses_contain_no_secret() {
        for (address, expected) in [
            ("rtmp://a.example/live/k3y-of-mine", "rtmp://a.example/live/***"),
            ("rtmps://user:s3cret@a.example:443/app/one/key?token=t0ken", "rtmps://***@a.example:443/app/one/***?***"),
            ("rtsp://admin:p@ss@10.0.0.7:554/Streaming/Channels/101", "rtsp://***@10.0.0.7:554/Streaming/Channels/101"),
            ("rtsp://admin:pa/ss@10.0.0.7/1", "rtsp://***@10.0.0.7/1"),
            ("https://[::1]:8443/hls/a.m3u8?sig=abc&exp=1#t=3", "https://[::1]:8443/hls/a.m3u8?***"),
            ("rtmp://localhost/live", "rtmp://localhost/live"),
            ("http://host:s3cret/x", "http://host/***"),
            ("RTMP://h/live/key/", "RTMP://h/live/***"),
            ("clips/a.mp4", "clips/a.mp4"),
            ("https://example.com/@name/live", "https://example.com/@name/live"),
        ] {
            assert_eq!(redacted(address), expected);
            assert_eq!(redacted(expected), expected, "redaction is idempotent");
        }
    }

    #[test]
    fn every_address_in_a_text_is_redacted_and_the_rest_is_unchanged() {
        let text = "sources [rtmp://h/live/k1, rtsp://u:p@h/2]: failed; see \"https://h/x?token=1\". 3://x, ü://a/b/c";
        let expected = "sources [rtmp://h/live/***, rtsp://***@h/2]: failed; see \"https://h/x?***\". 3://x, ü://a/b/c";
        assert_eq!(redact_addresses(text), expected);
        assert_eq!(redact_addresses("nothing to hide"), "nothing to hide");
        assert_eq!(redact_addresses("rtmp://h/a/b"), "rtmp://h/a/***");
        assert_eq!(redact_addresses("://://"), "://://");
    }

    #[test]
    fn errors_of_an_address_state_the_problem_and_the_remedy_without_secrets() {
        let error = |address: &str| check(address, &SCHEMES).unwrap_err();
        let scheme = error("rtpm://u:s3cret@h/live/key");
        assert!(scheme.contains("`rtpm://` is not known here; did you mean `rtmp`?"), "{scheme}");
        assert!(scheme.contains("rtmp://, rtmps://, rtsp://, rtsps://, http://, https://"), "{scheme}");
        assert!(error("rtsp:///1").contains("names no host"));
        assert!(error("rtmp://h").contains("names no stream"));
        assert!(error("rtsp://h:99999/1").contains("`99999` is no port"));
        assert!(error("http://h/a b").contains("%20"));
        let password = error("rtsp://u:s3/cret/1");
        assert!(password.contains("%2F") && !password.contains("s3"), "{password}");
        for text in [scheme, password] {
            assert!(!text.contains("cret") && !text.contains("key"), "{text}");
        }
        for valid in ["RTMP://h/live/x", "rtsp://u:p@[fe80::1]:554/1", "https://h/a.m3u8?x=1"] {
            assert_eq!(check(valid, &SCHEMES), Ok(()));
        }
        assert_eq!(host("rtsp://u:p@[fe80::1]:554/1"), Some(("fe80::1", Some(554))));
        assert_eq!(host("rtmp://h/live/x"), Some(("h", None)));
    }

    fn resolve(written: &str, folder: &std::path::Path) -> Result<Address, String> {
        Address::resolve(written, &SCHEMES, &[folder.to_owned()]).map_err(|error| error.message)
    }

    #[test]
    fn values_of_references_are_resolved_and_never_displayed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cam"), "rtsp://u:s3cret@h/1\n").unwrap();
        std::fs::write(folder.path().join("key"), " k3y?backup=1 \n").unwrap();
        std::fs::write(folder.path().join("password"), "p@ss/w").unwrap();
        let whole = resolve("file:cam", folder.path()).unwrap();
        assert_eq!((whole.resolved(), whole.redacted().as_str()), ("rtsp://u:s3cret@h/1", "file:cam"));
        assert_eq!(format!("{whole:?}"), "file:cam");
        let part = resolve("rtmp://h/live/{file:key}", folder.path()).unwrap();
        assert_eq!((part.resolved(), part.redacted().as_str()), ("rtmp://h/live/k3y?backup=1", "rtmp://h/live/***"));
        let user = resolve("rtsp://u:{file:password}@h:8554/1", folder.path()).unwrap();
        assert_eq!(
            (user.resolved(), user.redacted().as_str()),
            ("rtsp://u:p%40ss%2Fw@h:8554/1", "rtsp://***@h:8554/1")
        );
        assert_eq!(host_for_display("h", &user.redacted()), "h");
        assert_eq!(host_for_display("h", "file:cam"), "its host");
        assert_eq!(host_for_display("h", &redacted("https://{env:HOST}:8443/x")), "its host");
        assert_eq!(
            check("rtsp://u:{env:NO_SUCH_VARIABLE}@h/1", &SCHEMES),
            Ok(()),
            "references are resolved at the start"
        );
        let variable = std::env::vars().find(|(_, value)| !value.trim().is_empty() && !is_address(value)).unwrap().0;
        let other = resolve(&format!("env:{variable}"), folder.path()).unwrap_err();
        assert!(other.contains("does not stand for an address") && other.contains("rtmps://"), "{other}");
    }

    #[test]
    fn an_unresolved_reference_is_an_error_that_names_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("words"), "two words").unwrap();
        for (written, expected) in [
            ("env:NO_SUCH_VARIABLE", "there is no environment variable `NO_SUCH_VARIABLE`"),
            ("rtmp://h/live/{env:NO_SUCH_VARIABLE}", "there is no environment variable `NO_SUCH_VARIABLE`"),
            ("file:none", "none: no such file; looked for"),
            ("file:empty", "`file:empty` is empty"),
            ("rtmp://h/live/{file:words}", "contains a space"),
            ("rtmp://h/live/{env:HOME", "not closed"),
        ] {
            let error = resolve(written, folder.path()).unwrap_err();
            assert!(error.contains(expected), "{written}: {error}");
        }
        assert!(
            is_reference("env:A") && is_reference("file:a/b") && !is_reference("file:///a") && is_remote("rtmp://h/a")
        );
    }
}
