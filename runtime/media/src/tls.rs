//! TLS verification of peers: `https`, `rtmps`, and every address that a playlist refers to.
//!
//! FFmpeg verifies peers only if `tls_verify` is set, and its HLS demuxer does not pass that option on to the segments. So the
//! option is set where FFmpeg opens an address, for every component.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    path::{Path, PathBuf},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use ff::{Dictionary, ffi};
use ffmpeg_next as ff;
use sideline_api::{Error, Failure, OrFail, Result};

use crate::interrupt::Interrupt;

/// Schemes over TLS, with their default ports.
const PORTS: [(&str, u16); 3] = [("https", 443), ("rtmps", 443), ("rtsps", 322)];

/// Certificates that are trusted over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// File of the trusted certificates (PEM), in tls_url of the system's.
    ca: Option<PathBuf>,
    /// True if certificates are not verified.
    is_insecure: bool,
}

impl TlsTrust {
    /// Trusts the certificate authorities in the PEM file `ca`, or those of the system if there is none. With `insecure`,
    /// certificates are not verified.
    ///
    /// # Errors
    /// `Config` if the file contains no certificate, or both are given.
    pub fn new(ca: Option<PathBuf>, insecure: bool) -> Result<Self> {
        if let Some(path) = &ca {
            if insecure {
                return Err(Error::config(
                    "cannot be combined with `insecure: true`, which skips verification: give one of the two",
                ));
            }
            if path.to_str().is_none() {
                return Err(Error::config(format!("{}: its name is not UTF-8; rename it", path.display())));
            }
            let text = std::fs::read(path).or_fail(Failure::Config, || path.display().to_string())?;
            if !String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") {
                return Err(Error::config(format!(
                    "{}: contains no certificate; it must be a PEM file, with `-----BEGIN CERTIFICATE-----` in it",
                    path.display()
                )));
            }
        }
        Ok(Self { ca, is_insecure: insecure })
    }

    /// Returns the file of the trusted certificates, if it is not the system's.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// True if certificates are not verified.
    pub fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// Adds the settings to FFmpeg's options of an address.
    pub(crate) fn apply_to(&self, options: &mut Dictionary) {
        options.set("tls_verify", if self.is_insecure { "0" } else { "1" });
        if let Some(path) = self.ca.as_ref().and_then(|path| path.to_str()) {
            options.set("ca_file", path);
        }
    }

    /// Tests, after a connection failed, whether the cause was the peer's certificate: a connection without verification
    /// succeeds. Returns the host then; `None` if the address does not use TLS, or the cause is another.
    pub(crate) fn rejected_host(&self, url: &str, interrupt: &Arc<Interrupt>) -> Option<String> {
        let (_, port) = *PORTS.iter().find(|(scheme, _)| sideline_address::has_scheme(url, &[*scheme]))?;
        let (host, own_port) = sideline_address::host(url)?;
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let tls_url = format!("tls://{bracketed}:{}", own_port.unwrap_or(port));
        let unverified = Self { is_insecure: true, ..self.clone() };
        let is_refused =
            !self.is_insecure && !self.can_connect(&tls_url, interrupt) && unverified.can_connect(&tls_url, interrupt);
        is_refused.then(|| host.to_owned())
    }

    /// Returns true if a TLS connection can be made.
    fn can_connect(&self, tls_url: &str, interrupt: &Arc<Interrupt>) -> bool {
        let Ok(tls_url) = CString::new(tls_url) else { return false };
        let mut options = Dictionary::new();
        self.apply_to(&mut options);
        let callback = interrupt.callback();
        let mut opened = ptr::null_mut();
        // SAFETY: the string, the callback's interrupt and the dictionary outlive the call; the dictionary is freed once, and
        // the opened connection is closed.
        unsafe {
            let mut options = options.disown();
            let code =
                ffi::avio_open2(&mut opened, tls_url.as_ptr(), ffi::AVIO_FLAG_READ_WRITE, &callback, &mut options);
            ffi::av_dict_free(&mut options);
            ffi::avio_closep(&mut opened);
            code >= 0
        }
    }

    /// Returns the message for a rejected certificate, with the remedies.
    pub(crate) fn rejection_message(&self, host: &str) -> String {
        let by = match &self.ca {
            Some(path) => format!("an authority in `ca` ({})", path.display()),
            None => "one of this system's authorities".into(),
        };
        format!(
            "the certificate of `{host}` is not trusted: it is not signed by {by}, has expired, or belongs to another host; use \
             the host name in the certificate, set `ca` to the file of its authority or to the certificate itself, or set \
             `insecure: true` to skip verification"
        )
    }
}

/// True if this FFmpeg can verify the peer of an `rtsps://` address: its RTSP client must pass the options on.
pub(crate) fn verifies_rtsps() -> bool {
    // SAFETY: formats and their classes are static; a search without an object takes a pointer to the pointer of a class.
    unsafe {
        let format = ffi::av_find_input_format(c"rtsp".as_ptr());
        if format.is_null() || (*format).priv_class.is_null() {
            return false;
        }
        let mut class = (*format).priv_class;
        let object = ptr::from_mut(&mut class).cast();
        !ffi::av_opt_find(object, c"tls_verify".as_ptr(), ptr::null(), 0, ffi::AV_OPT_SEARCH_FAKE_OBJ).is_null()
    }
}

/// FFmpeg's `io_open` callback.
type IoOpen = unsafe extern "C" fn(
    *mut ffi::AVFormatContext,
    *mut *mut ffi::AVIOContext,
    *const c_char,
    c_int,
    *mut *mut ffi::AVDictionary,
) -> c_int;

/// Opens every address of an input with the given trust. FFmpeg holds its address: keep the `Arc` until the input is
/// closed.
pub(crate) struct TlsOpener {
    trust: TlsTrust,
    /// FFmpeg's original callback.
    inner: IoOpen,
    /// Last address that could not be opened.
    failed_address: Mutex<Option<String>>,
}

impl TlsOpener {
    /// Replaces the `io_open` callback of a context; `None` if it has none.
    ///
    /// # Safety
    /// The context is allocated and not yet open, and is freed before the opener.
    pub unsafe fn install(trust: TlsTrust, context: *mut ffi::AVFormatContext) -> Option<Arc<Self>> {
        // SAFETY: by the function's contract.
        unsafe {
            let opener = Arc::new(Self { trust, inner: (*context).io_open?, failed_address: Mutex::new(None) });
            (*context).opaque = Arc::as_ptr(&opener).cast_mut().cast();
            (*context).io_open = Some(open);
            Some(opener)
        }
    }

    /// Returns the last address that could not be opened.
    pub fn failed_address(&self) -> Option<String> {
        self.failed_address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Opens an address for an input.
unsafe extern "C" fn open(
    context: *mut ffi::AVFormatContext,
    io: *mut *mut ffi::AVIOContext,
    url: *const c_char,
    flags: c_int,
    options: *mut *mut ffi::AVDictionary,
) -> c_int {
    // SAFETY: only `TlsOpener::install` sets this function, with an opener that outlives the context; FFmpeg passes a valid
    // URL, and a pointer to the dictionary or null. A dictionary created here is freed here; FFmpeg's own is returned to it.
    unsafe {
        let opener = &*(*context).opaque.cast_const().cast::<TlsOpener>();
        let mut created = ptr::null_mut();
        let target = if options.is_null() { &raw mut created } else { options };
        let mut dictionary = Dictionary::own(*target);
        opener.trust.apply_to(&mut dictionary);
        *target = dictionary.disown();
        let code = (opener.inner)(context, io, url, flags, target);
        ffi::av_dict_free(&mut created);
        if code < 0 {
            let url = CStr::from_ptr(url).to_string_lossy().into_owned();
            *opener.failed_address.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----").unwrap();
        let error = TlsTrust::new(Some(path), false).unwrap_err();
        assert!(error.failure == Failure::Config && error.message.contains("contains no certificate"), "{error}");
        let both = TlsTrust::new(Some("none.pem".into()), true).unwrap_err();
        assert!(both.message.contains("give one of the two"), "{both}");
        let missing = TlsTrust::new(Some("none.pem".into()), false).unwrap_err();
        assert!(missing.message.starts_with("none.pem: "), "{missing}");
    }
}
