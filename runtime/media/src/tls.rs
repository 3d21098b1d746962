//! Verification of those who are talked to over TLS: `https`, `rtmps`, and every address that a playlist refers to.
//!
//! FFmpeg verifies nobody unless `tls_verify` is set, and HLS does not hand that option on to its segments. So it is set
//! where FFmpeg opens an address, whichever part of it asks.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    path::{Path, PathBuf},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use ff::{Dictionary, ffi};
use ffmpeg_next as ff;
use sideline_api::{Error, Failure, OrFail, Result, address};

use crate::watch::Watch;

/// Schemes whose connections are TLS, each with its port.
const PORTS: [(&str, u16); 3] = [("https", 443), ("rtmps", 443), ("rtsps", 322)];

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// File of certificates (PEM) that are trusted in place of the system's.
    ca: Option<PathBuf>,
    /// Everybody is trusted: nothing is verified.
    is_blind: bool,
}

impl Trust {
    /// Trusts those whose certificate leads to one of `ca`, a PEM file, or of the system where there is none; with
    /// `insecure` everybody.
    ///
    /// # Errors
    /// `Config` when the file holds no certificate, or both are given.
    pub fn new(ca: Option<PathBuf>, insecure: bool) -> Result<Self> {
        if let Some(path) = &ca {
            if insecure {
                return Err(Error::config(
                    "stands beside `insecure: true`, which verifies nobody: give one of the two",
                ));
            }
            if path.to_str().is_none() {
                return Err(Error::config(format!("{}: its name is not UTF-8; rename it", path.display())));
            }
            let text = std::fs::read(path).or_fail(Failure::Config, || path.display().to_string())?;
            if !String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") {
                return Err(Error::config(format!(
                    "{}: holds no certificate; it must be a PEM file, with `-----BEGIN CERTIFICATE-----` in it",
                    path.display()
                )));
            }
        }
        Ok(Self { ca, is_blind: insecure })
    }

    /// File of the certificates that are trusted, where it is not the system's.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// True where nothing is verified.
    pub fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Sets it among the options of an address to open.
    pub(crate) fn set(&self, options: &mut Dictionary) {
        options.set("tls_verify", if self.is_blind { "0" } else { "1" });
        if let Some(path) = self.ca.as_ref().and_then(|path| path.to_str()) {
            options.set("ca_file", path);
        }
    }

    /// Finds out, after a connection failed, whether that was for the peer's certificate: a second one succeeds
    /// without a look at it. None where it is not TLS, or failed for another cause; else the host.
    pub(crate) fn refuses(&self, url: &str, watch: &Arc<Watch>) -> Option<String> {
        let (_, port) = *PORTS.iter().find(|(scheme, _)| address::is_of(url, &[*scheme]))?;
        let (host, own) = address::host(url)?;
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let place = format!("tls://{bracketed}:{}", own.unwrap_or(port));
        let blind = Self { is_blind: true, ..self.clone() };
        let is_refused = !self.is_blind && !self.connects(&place, watch) && blind.connects(&place, watch);
        is_refused.then(|| host.to_owned())
    }

    /// True when a TLS connection can be made.
    fn connects(&self, place: &str, watch: &Arc<Watch>) -> bool {
        let Ok(place) = CString::new(place) else { return false };
        let mut options = Dictionary::new();
        self.set(&mut options);
        let callback = watch.callback();
        let mut opened = ptr::null_mut();
        // SAFETY: the string, the callback's watch and the dictionary outlive the call; the dictionary is freed once, and what
        // was opened is closed.
        unsafe {
            let mut options = options.disown();
            let code = ffi::avio_open2(&mut opened, place.as_ptr(), ffi::AVIO_FLAG_READ_WRITE, &callback, &mut options);
            ffi::av_dict_free(&mut options);
            ffi::avio_closep(&mut opened);
            code >= 0
        }
    }

    /// What is told of a peer that is not trusted, and what can be done.
    pub(crate) fn refusal(&self, host: &str) -> String {
        let by = match &self.ca {
            Some(path) => format!("`ca` ({})", path.display()),
            None => "this system's authorities".into(),
        };
        format!(
            "the certificate of `{host}` is not trusted: it is not signed by {by}, is out of date, or is that of another \
             host; name the host as its certificate does, give the file of its authority, or its own, as `ca`, or set \
             `insecure: true`, and nobody is verified"
        )
    }
}

/// True where this FFmpeg can verify the peer of an `rtsps://` address: its RTSP client must hand the options on.
pub(crate) fn verifies_rtsps() -> bool {
    // SAFETY: formats and their classes are static; a pointer to the pointer of a class is what a search without an object asks
    // for.
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

type Open = unsafe extern "C" fn(
    *mut ffi::AVFormatContext,
    *mut *mut ffi::AVIOContext,
    *const c_char,
    c_int,
    *mut *mut ffi::AVDictionary,
) -> c_int;

/// Opens every address of an input with its trust. FFmpeg knows it by its address: keep the `Arc` until the input is
/// closed.
pub(crate) struct Opener {
    trust: Trust,
    /// FFmpeg's own way to open an address.
    inner: Open,
    /// The last address that could not be opened.
    failed: Mutex<Option<String>>,
}

impl Opener {
    /// Takes the place of a context's own way to open addresses; none where it has none.
    ///
    /// # Safety
    /// The context is allocated and not open yet, and is freed before the opener.
    pub unsafe fn install(trust: Trust, context: *mut ffi::AVFormatContext) -> Option<Arc<Self>> {
        // SAFETY: the caller's promise.
        unsafe {
            let opener = Arc::new(Self { trust, inner: (*context).io_open?, failed: Mutex::new(None) });
            (*context).opaque = Arc::as_ptr(&opener).cast_mut().cast();
            (*context).io_open = Some(open);
            Some(opener)
        }
    }

    /// The last address that could not be opened.
    pub fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Opens an address that an input asks for.
unsafe extern "C" fn open(
    context: *mut ffi::AVFormatContext,
    io: *mut *mut ffi::AVIOContext,
    url: *const c_char,
    flags: c_int,
    options: *mut *mut ffi::AVDictionary,
) -> c_int {
    // SAFETY: only `Opener::install` sets this function, with an opener that outlives the context; FFmpeg gives a valid URL,
    // and a place for the dictionary or none. A dictionary of ours is freed here; FFmpeg's own is given back to it.
    unsafe {
        let opener = &*(*context).opaque.cast_const().cast::<Opener>();
        let mut own = ptr::null_mut();
        let place = if options.is_null() { &raw mut own } else { options };
        let mut set = Dictionary::own(*place);
        opener.trust.set(&mut set);
        *place = set.disown();
        let code = (opener.inner)(context, io, url, flags, place);
        ffi::av_dict_free(&mut own);
        if code < 0 {
            let url = CStr::from_ptr(url).to_string_lossy().into_owned();
            *opener.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
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
        let error = Trust::new(Some(path), false).unwrap_err();
        assert!(error.failure == Failure::Config && error.message.contains("holds no certificate"), "{error}");
        let both = Trust::new(Some("none.pem".into()), true).unwrap_err();
        assert!(both.message.contains("give one of the two"), "{both}");
        let missing = Trust::new(Some("none.pem".into()), false).unwrap_err();
        assert!(missing.message.starts_with("none.pem: "), "{missing}");
    }
}
