//! Whose files are acted on, and files of this user alone.
//!
//! A file decides what a process does when it is a library to load, a list of models, a socket to talk to. Such files are
//! taken only from where nobody but the user and root can put them; git learned the same from CVE-2022-24765.

use std::{
    fmt, io,
    io::{ErrorKind, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::OFlags;

/// Permission bits by which a group, and everybody, may write.
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
/// Permission bit of a folder in which only the owner of a file may rename or remove it.
const STICKY: u32 = 0o1000;
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The number of the user this process acts as.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The users whose files are acted on: the one this process acts as, root, and the owner of the program itself, who could
/// make it do anything as it is.
fn trusted_users() -> &'static [u32] {
    static USERS: OnceLock<Vec<u32>> = OnceLock::new();
    USERS.get_or_init(|| {
        let program = std::env::current_exe().and_then(std::fs::metadata).map(|program| program.uid());
        [user(), 0].into_iter().chain(program.ok()).collect()
    })
}

/// Owner and permissions of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Number of the owner.
    pub user: u32,
    /// Number of the group.
    pub group: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Ownership {
    /// Reads those of a file or folder; of a link, those of what it leads to.
    ///
    /// # Errors
    /// When it is not there, or hidden.
    pub fn read(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|found| Self::from(&found))
    }

    /// True when it belongs to one of `users`, and nobody else can change it.
    ///
    /// A group that may write counts as one of them where it has the number of one: many systems give each user a group of
    /// the user's own number, and let it write.
    pub fn is_of(self, users: &[u32]) -> bool {
        let group_is_others = self.mode & GROUP_WRITES != 0 && !users.contains(&self.group);
        users.contains(&self.user) && !group_is_others && self.mode & ALL_WRITE == 0
    }

    /// True for a folder from which nobody but `user` and root can take away, or replace, what `user` has in it: one that
    /// is trusted, or has the sticky bit, as `/tmp`.
    fn keeps(self, user: u32) -> bool {
        let sticky = self.mode & STICKY != 0 && [user, 0].contains(&self.user);
        sticky || self.is_of(&[user, 0])
    }
}

impl From<&std::fs::Metadata> for Ownership {
    fn from(found: &std::fs::Metadata) -> Self {
        Ownership { user: found.uid(), group: found.gid(), mode: found.mode() & 0o7777 }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "owner {}, group {}, mode {:o}", self.user, self.group, self.mode)
    }
}

/// True when nobody but this user, root and the owner of the program can change a file or folder. False where it is not
/// there.
pub fn is_trusted(path: &Path) -> bool {
    Ownership::read(path).is_ok_and(|found| found.is_of(trusted_users()))
}

/// The first part of `root/below` behind `root` that others can change; none when nobody can plant anything there.
pub fn first_untrusted(root: &Path, below: &Path) -> Option<PathBuf> {
    let mut place = root.to_owned();
    below
        .components()
        .map(|part| {
            place.push(part);
            place.clone()
        })
        .find(|place| !is_trusted(place))
}

/// The folders from a file or folder upwards that are trusted ([`is_trusted`]): nobody else can put anything into them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ancestors {
    /// The folders, the nearest first.
    pub folders: Vec<PathBuf>,
    /// The first one that others can put something into: it ends the way up, as it may be theirs what lies above.
    pub barred: Option<PathBuf>,
}

impl Ancestors {
    /// Walks up from a file or folder. One that is not there is passed over.
    ///
    /// # Errors
    /// When the working directory, from which `start` may be written, is gone.
    pub fn walk(start: &Path) -> io::Result<Self> {
        let start = std::path::absolute(start)?;
        let folder = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir);
        Ok(Self::judge(&start, |path| folder(path).map(|found| Ownership::from(&found)), trusted_users()))
    }

    /// Walks up, with the ownership of each folder by `read`; `None` for what is no folder.
    fn judge(start: &Path, read: impl Fn(&Path) -> Option<Ownership>, users: &[u32]) -> Self {
        let mut found = Self::default();
        for path in start.ancestors() {
            match read(path) {
                None => {}
                Some(ownership) if ownership.is_of(users) => found.folders.push(path.to_owned()),
                Some(_) => {
                    found.barred = Some(path.to_owned());
                    break;
                }
            }
        }
        found
    }
}

/// Why a folder cannot hold what is this user's alone.
#[derive(Debug)]
pub enum NotPrivate {
    /// It cannot be made or looked at.
    Unusable(PathBuf, io::Error),
    /// It is someone else's, a link, or open to others.
    Open(PathBuf),
}

impl fmt::Display for NotPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPrivate::Unusable(folder, cause) => write!(f, "{}: {cause}", folder.display()),
            NotPrivate::Open(folder) => write!(
                f,
                "{} is not this user's alone, so others could steer what is done with the files in it: remove it, or \
                 `chmod 700` it",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for NotPrivate {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NotPrivate::Unusable(_, cause) => Some(cause),
            NotPrivate::Open(_) => None,
        }
    }
}

/// Makes a folder that nobody else can look into, where it is not there.
///
/// # Errors
/// When it cannot be made, or what is there is not this user's alone.
pub fn make_private(folder: &Path) -> Result<(), NotPrivate> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(NotPrivate::Unusable(folder.to_owned(), cause)),
        _ => check_private(folder),
    }
}

/// Looks whether a folder is this user's alone, and no link: in a folder that all may write to somebody else may have put
/// it there.
///
/// # Errors
/// When it is not, or not there.
pub fn check_private(folder: &Path) -> Result<(), NotPrivate> {
    let found = std::fs::symlink_metadata(folder).map_err(|cause| NotPrivate::Unusable(folder.to_owned(), cause))?;
    let own = found.is_dir() && found.uid() == user() && found.mode() & OTHERS == 0;
    let stays =
        folder.parent().and_then(|parent| Ownership::read(parent).ok()).is_none_or(|parent| parent.keeps(user()));
    if own && stays { Ok(()) } else { Err(NotPrivate::Open(folder.to_owned())) }
}

/// Folders for what belongs to a user's running processes, best first: that of the system, then those for temporary
/// files. Each is still to be made, or looked at. `SIDELINE_RUNTIME_DIR` names one in place of all these.
pub fn runtime_folders() -> Vec<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    if let Some(folder) = absolute("SIDELINE_RUNTIME_DIR") {
        return vec![folder];
    }
    let system = absolute("XDG_RUNTIME_DIR").filter(|folder| folder.is_dir()).map(|folder| folder.join("sideline"));
    let name = format!("sideline-runs-{}", user());
    let temporary = [std::env::temp_dir(), PathBuf::from("/tmp")].map(|folder| folder.join(&name));
    let mut folders: Vec<PathBuf> = system.into_iter().chain(temporary).collect();
    folders.dedup();
    folders
}

/// The first of some folders that is this user's alone, or can be made so.
///
/// # Errors
/// Why the last one is not.
pub fn first_private(folders: impl IntoIterator<Item = PathBuf>) -> Result<PathBuf, NotPrivate> {
    let missing = io::Error::new(ErrorKind::NotFound, "no folder for temporary files");
    let mut last = NotPrivate::Unusable(std::env::temp_dir(), missing);
    for folder in folders {
        match make_private(&folder) {
            Ok(()) => return Ok(folder),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// Writes a file whole or not at all, for this user alone. It is made under a new name first: neither a link nor a file
/// that is there already is written through.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let part = unique_part(path);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&part)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Reads a file that is this user's and that nobody else may write to; a link is not followed.
///
/// # Errors
/// When it is not there, or not such a file.
pub fn read_private(path: &Path) -> io::Result<String> {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != user() || found.mode() & (GROUP_WRITES | ALL_WRITE) != 0 {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// A name beside a file for its next version while that is written: never given twice, so that neither two threads nor two
/// processes write to one.
pub fn unique_part(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("part-{}-{number}", std::process::id()))
}

/// True for a socket's file that is this user's, and no link.
pub fn is_own_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket() && found.uid() == user())
}

/// True when the process at the other end of a socket runs as this user or as root: root can do as it likes anyway.
///
/// Only Linux tells who it is; elsewhere the folder of the socket has to be trusted.
pub fn is_peer_trusted(socket: &UnixStream) -> bool {
    is_peer(socket, user())
}

#[cfg(target_os = "linux")]
fn is_peer(socket: &UnixStream, user: u32) -> bool {
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| [user, 0].contains(&peer.uid.as_raw()))
}

#[cfg(not(target_os = "linux"))]
fn is_peer(_: &UnixStream, _: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    const ME: u32 = 1000;
    const STRANGER: u32 = 65_534;

    fn owned(user: u32, group: u32, mode: u32) -> Ownership {
        Ownership { user, group, mode }
    }

    #[test]
    fn what_others_own_or_may_write_to_is_not_trusted() {
        for trusted in [owned(ME, ME, 0o755), owned(0, 0, 0o755), owned(ME, 100, 0o755), owned(ME, ME, 0o775)] {
            assert!(trusted.is_of(&[ME, 0]), "{trusted}");
        }
        let sticky = owned(0, 0, 0o1777);
        for open in [owned(STRANGER, STRANGER, 0o755), owned(ME, ME, 0o757), owned(ME, 100, 0o775), sticky] {
            assert!(!open.is_of(&[ME, 0]), "{open}");
        }
        assert!(sticky.keeps(ME) && !owned(STRANGER, 0, 0o1777).keeps(ME) && !owned(0, 0, 0o777).keeps(ME));
        // Root in a user's folder: that user could be a stranger.
        assert!(!owned(ME, ME, 0o755).is_of(&[0]));
    }

    #[test]
    fn the_way_up_ends_at_the_first_folder_that_others_may_write_to() {
        let folders = [("/", 0, 0o755), ("/srv", 0, 0o1777), ("/srv/mine", ME, 0o755), ("/srv/mine/flows", ME, 0o700)];
        let read = |path: &Path| {
            let known = folders.iter().find(|known| Path::new(known.0) == path)?;
            Some(owned(known.1, known.1, known.2))
        };
        let found = Ancestors::judge(Path::new("/srv/mine/flows/flow.yml"), read, &[ME, 0]);
        assert_eq!(found.folders, [Path::new("/srv/mine/flows"), Path::new("/srv/mine")]);
        assert_eq!(found.barred.as_deref(), Some(Path::new("/srv")));
        let found = Ancestors::judge(Path::new("/srv/mine/flows/flow.yml"), read, &[0]);
        assert_eq!(found, Ancestors { folders: vec![], barred: Some("/srv/mine/flows".into()) });
        let found = Ancestors::judge(Path::new("/flow.yml"), read, &[ME, 0]);
        assert_eq!(found, Ancestors { folders: vec!["/".into()], barred: None });
    }

    #[test]
    fn a_part_that_others_may_write_to_is_found_on_the_way_down() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::set_permissions(root.join("a/b"), Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(root.join("a"), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(first_untrusted(root, Path::new("a/b")), None);
        std::fs::set_permissions(root.join("a"), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(first_untrusted(root, Path::new("a/b")), Some(root.join("a")));
        assert_eq!(first_untrusted(root, Path::new("c")), Some(root.join("c")), "not there");
    }

    #[test]
    fn a_private_folder_is_made_and_one_that_others_can_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        make_private(&own).unwrap();
        assert_eq!(own.metadata().unwrap().mode() & 0o777, 0o700);
        make_private(&own).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(make_private(&link).is_err(), "a link may lead anywhere");
        std::fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        assert!(make_private(&own).unwrap_err().to_string().contains("chmod 700"));
        let next = folder.path().join("next");
        assert_eq!(first_private([own, link, next.clone()]).unwrap(), next);
    }

    #[test]
    fn a_private_file_is_written_through_no_link_and_read_through_none() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("file.json5"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(read_private(&path).is_err());
        write_private(&path, "text").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(read_private(&path).unwrap(), "text");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read_private(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "no part is left");
    }

    #[test]
    fn names_of_parts_are_never_given_twice() {
        let path = Path::new("/run/run.json");
        assert_ne!(unique_part(path), unique_part(path));
        assert_eq!(unique_part(path).parent(), path.parent());
    }

    #[test]
    fn the_process_at_the_other_end_is_looked_at() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(is_peer_trusted(&one));
        if cfg!(target_os = "linux") && user() != 0 {
            assert!(!is_peer(&one, user() + 1));
        }
    }

    #[test]
    fn a_client_that_is_another_user_is_not_trusted() {
        use sideline_testkit::{Capability, skipped};
        use std::{os::unix::process::CommandExt, process::Command};
        if user() != 0 || !cfg!(target_os = "linux") {
            let reason = "only root can be another user as well, and only Linux tells who a peer is";
            return skipped(Capability::Machine, reason);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let client = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let child = Command::new("python3").args(["-c", client]).arg(&path).uid(STRANGER).current_dir("/").spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(cause) => return skipped(Capability::Python, format_args!("python3: {cause}")),
        };
        let (socket, _) = listener.accept().unwrap();
        assert!(!is_peer_trusted(&socket));
        drop(socket);
        child.wait().unwrap();
    }

    #[test]
    fn only_a_socket_of_this_user_counts_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("a.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(is_own_socket(&socket));
        std::fs::write(folder.path().join("b.sock"), "").unwrap();
        assert!(!is_own_socket(&folder.path().join("b.sock")));
        std::os::unix::fs::symlink(&socket, folder.path().join("c.sock")).unwrap();
        assert!(!is_own_socket(&folder.path().join("c.sock")));
    }
}
