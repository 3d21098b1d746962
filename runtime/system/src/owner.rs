//! Checks of file ownership and permissions, and files private to this user.
//!
//! Some files decide what a process does: a library to load, a list of models, a socket to talk to. Such a file is used
//! only if no user but this one and root can have put it there; compare CVE-2022-24765 in git.

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

/// Permission bit that lets the group write.
const GROUP_WRITE: u32 = 0o020;
/// Permission bit that lets all users write.
const OTHERS_WRITE: u32 = 0o002;
/// Sticky bit: in a folder that has it, only the owner of a file may rename or remove that file.
const STICKY: u32 = 0o1000;
/// Permission bits of the group and of all other users.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Returns the effective user id of this process.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns the user ids whose files are trusted: the effective user, root, and the owner of the running program. The
/// owner of the program already controls what it does.
fn trusted_uids() -> &'static [u32] {
    static UIDS: OnceLock<Vec<u32>> = OnceLock::new();
    UIDS.get_or_init(|| {
        let program_owner = std::env::current_exe().and_then(std::fs::metadata).map(|program| program.uid());
        [effective_uid(), 0].into_iter().chain(program_owner.ok()).collect()
    })
}

/// Owner and permissions of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits, including set-user-id, set-group-id and sticky.
    pub mode: u32,
}

impl Ownership {
    /// Reads the ownership of a file or folder, following symbolic links.
    ///
    /// # Errors
    /// When the path does not exist or cannot be accessed.
    pub fn read(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Returns true if one of `uids` is the owner and no other user may write.
    ///
    /// A group with write permission is accepted if its id is among `uids`: many systems give each user a group with
    /// the number of the user and let it write.
    pub fn is_exclusive_to(self, uids: &[u32]) -> bool {
        let foreign_group_writes = self.mode & GROUP_WRITE != 0 && !uids.contains(&self.gid);
        uids.contains(&self.uid) && !foreign_group_writes && self.mode & OTHERS_WRITE == 0
    }

    /// Returns true for a folder in which only `uid` and root can remove or replace the entries of `uid`: one exclusive
    /// to them, or one of theirs with the sticky bit, such as `/tmp`.
    fn protects_entries_of(self, uid: u32) -> bool {
        let is_sticky = self.mode & STICKY != 0 && [uid, 0].contains(&self.uid);
        is_sticky || self.is_exclusive_to(&[uid, 0])
    }
}

impl From<&std::fs::Metadata> for Ownership {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Ownership { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "owner {}, group {}, mode {:o}", self.uid, self.gid, self.mode)
    }
}

/// Returns true if only this user, root and the owner of the program can change a file or folder. False for a path that
/// does not exist.
pub fn is_trusted(path: &Path) -> bool {
    Ownership::read(path).is_ok_and(|ownership| ownership.is_exclusive_to(trusted_uids()))
}

/// Returns the first path below `root`, on the way down to `root/below`, that other users can change or that does not
/// exist; `None` if there is none.
pub fn first_untrusted(root: &Path, below: &Path) -> Option<PathBuf> {
    let mut path = root.to_owned();
    below
        .components()
        .map(|component| {
            path.push(component);
            path.clone()
        })
        .find(|path| !is_trusted(path))
}

/// The trusted folders ([`is_trusted`]) from a file or folder upwards: no other user can put a file into them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrustedAncestors {
    /// The trusted folders, the nearest first.
    pub folders: Vec<PathBuf>,
    /// The first folder that other users may write to. The walk stops there, since they may control everything above
    /// it.
    pub stopped_at: Option<PathBuf>,
}

impl TrustedAncestors {
    /// Walks up from a file or folder, ignoring paths that are not existing folders.
    ///
    /// # Errors
    /// When `start` is relative and the working directory no longer exists.
    pub fn walk(start: &Path) -> io::Result<Self> {
        let start = std::path::absolute(start)?;
        let folder = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir);
        Ok(Self::walk_with(&start, |path| folder(path).map(|metadata| Ownership::from(&metadata)), trusted_uids()))
    }

    /// Walks up with the ownership that `read` returns for each path; `None` for a path that is not a folder.
    fn walk_with(start: &Path, read: impl Fn(&Path) -> Option<Ownership>, uids: &[u32]) -> Self {
        let mut ancestors = Self::default();
        for path in start.ancestors() {
            match read(path) {
                None => {}
                Some(ownership) if ownership.is_exclusive_to(uids) => ancestors.folders.push(path.to_owned()),
                Some(_) => {
                    ancestors.stopped_at = Some(path.to_owned());
                    break;
                }
            }
        }
        ancestors
    }
}

/// The reason a folder cannot be used for private files.
#[derive(Debug)]
pub enum PrivateFolderError {
    /// The folder cannot be created or inspected.
    Io(PathBuf, io::Error),
    /// The path belongs to another user, is not a folder (a symbolic link, for one), or is accessible to other users.
    NotPrivate(PathBuf),
}

impl fmt::Display for PrivateFolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivateFolderError::Io(folder, cause) => write!(f, "{}: {cause}", folder.display()),
            PrivateFolderError::NotPrivate(folder) => write!(
                f,
                "{} is not private to this user, so other users could replace the files in it: remove it, or \
                 `chmod 700` it",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for PrivateFolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PrivateFolderError::Io(_, cause) => Some(cause),
            PrivateFolderError::NotPrivate(_) => None,
        }
    }
}

/// Creates a folder that only this user can access, or checks an existing one.
///
/// # Errors
/// When the folder cannot be created, or the existing path is not a private folder.
pub fn create_private_folder(folder: &Path) -> Result<(), PrivateFolderError> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(PrivateFolderError::Io(folder.to_owned(), cause)),
        _ => check_private_folder(folder),
    }
}

/// Checks that a folder is accessible to this user only and is not a symbolic link. In a folder that all users may
/// write to, another user may have created it.
///
/// # Errors
/// When the folder is not private or does not exist.
pub fn check_private_folder(folder: &Path) -> Result<(), PrivateFolderError> {
    let uid = effective_uid();
    let metadata =
        std::fs::symlink_metadata(folder).map_err(|cause| PrivateFolderError::Io(folder.to_owned(), cause))?;
    let is_own = metadata.is_dir() && metadata.uid() == uid && metadata.mode() & GROUP_AND_OTHERS == 0;
    let parent = folder.parent().and_then(|parent| Ownership::read(parent).ok());
    let is_protected = parent.is_none_or(|parent| parent.protects_entries_of(uid));
    if is_own && is_protected { Ok(()) } else { Err(PrivateFolderError::NotPrivate(folder.to_owned())) }
}

/// Lists candidate folders for the sockets and settings of a user's running processes, the preferred one first: the
/// runtime folder of the system, then the folders for temporary files. The caller has to create or check each of them.
/// `SIDELINE_RUNTIME_DIR` replaces the whole list.
pub fn runtime_folders() -> Vec<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    if let Some(folder) = absolute("SIDELINE_RUNTIME_DIR") {
        return vec![folder];
    }
    let system = absolute("XDG_RUNTIME_DIR").filter(|folder| folder.is_dir()).map(|folder| folder.join("sideline"));
    let name = format!("sideline-runs-{}", effective_uid());
    let temporary = [std::env::temp_dir(), PathBuf::from("/tmp")].map(|folder| folder.join(&name));
    let mut folders: Vec<PathBuf> = system.into_iter().chain(temporary).collect();
    folders.dedup();
    folders
}

/// Returns the first of some folders that is private to this user or can be created so.
///
/// # Errors
/// The error of the last folder.
pub fn first_private_folder(folders: impl IntoIterator<Item = PathBuf>) -> Result<PathBuf, PrivateFolderError> {
    let missing = io::Error::new(ErrorKind::NotFound, "no folder for temporary files");
    let mut last = PrivateFolderError::Io(std::env::temp_dir(), missing);
    for folder in folders {
        match create_private_folder(&folder) {
            Ok(()) => return Ok(folder),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// Writes a private file (mode 0600) atomically: it is created under a new name and renamed, so that neither a symbolic
/// link nor an existing file at `path` is written through.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private_file(path: &Path, text: &str) -> io::Result<()> {
    let part = unique_part_path(path);
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

/// Reads a file that this user owns and no other user may write to, without following a symbolic link.
///
/// # Errors
/// When the file does not exist or cannot be read; `PermissionDenied` for a file of another owner or mode.
pub fn read_private_file(path: &Path) -> io::Result<String> {
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)?;
    let metadata = file.metadata()?;
    let is_writable_by_others = metadata.mode() & (GROUP_WRITE | OTHERS_WRITE) != 0;
    if !metadata.is_file() || metadata.uid() != effective_uid() || is_writable_by_others {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns a path beside a file under which to write its next version before the rename. It is unique per process and
/// call, so that no two threads or processes write to the same file.
pub fn unique_part_path(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    path.with_extension(format!("part-{}-{number}", std::process::id()))
}

/// Returns true for the file of a socket that belongs to this user and is not a symbolic link.
pub fn is_own_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_socket() && metadata.uid() == effective_uid())
}

/// Returns true if the process at the other end of a socket runs as this user or as root, whom no check can keep out.
///
/// Only Linux reports the user of a peer (`SO_PEERCRED`); on other systems this is always true, and the safety of the
/// socket rests on the folder that it is in.
pub fn is_peer_trusted(socket: &UnixStream) -> bool {
    is_peer_user_or_root(socket, effective_uid())
}

#[cfg(target_os = "linux")]
fn is_peer_user_or_root(socket: &UnixStream, uid: u32) -> bool {
    rustix::net::sockopt::socket_peercred(socket).is_ok_and(|peer| [uid, 0].contains(&peer.uid.as_raw()))
}

#[cfg(not(target_os = "linux"))]
fn is_peer_user_or_root(_: &UnixStream, _: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    const ME: u32 = 1000;
    const OTHER_USER: u32 = 65_534;

    fn ownership(uid: u32, gid: u32, mode: u32) -> Ownership {
        Ownership { uid, gid, mode }
    }

    #[test]
    fn ownership_is_not_exclusive_if_others_own_or_may_write() {
        let exclusive =
            [ownership(ME, ME, 0o755), ownership(0, 0, 0o755), ownership(ME, 100, 0o755), ownership(ME, ME, 0o775)];
        for ownership in exclusive {
            assert!(ownership.is_exclusive_to(&[ME, 0]), "{ownership}");
        }
        let sticky = ownership(0, 0, 0o1777);
        let shared =
            [ownership(OTHER_USER, OTHER_USER, 0o755), ownership(ME, ME, 0o757), ownership(ME, 100, 0o775), sticky];
        for ownership in shared {
            assert!(!ownership.is_exclusive_to(&[ME, 0]), "{ownership}");
        }
        assert!(sticky.protects_entries_of(ME));
        assert!(!ownership(OTHER_USER, 0, 0o1777).protects_entries_of(ME));
        assert!(!ownership(0, 0, 0o777).protects_entries_of(ME));
        // Root does not trust a folder of an ordinary user.
        assert!(!ownership(ME, ME, 0o755).is_exclusive_to(&[0]));
    }

    #[test]
    fn the_walk_up_stops_at_the_first_folder_that_others_may_write_to() {
        let folders = [("/", 0, 0o755), ("/srv", 0, 0o1777), ("/srv/mine", ME, 0o755), ("/srv/mine/flows", ME, 0o700)];
        let read = |path: &Path| {
            let known = folders.iter().find(|known| Path::new(known.0) == path)?;
            Some(ownership(known.1, known.1, known.2))
        };
        let found = TrustedAncestors::walk_with(Path::new("/srv/mine/flows/flow.yml"), read, &[ME, 0]);
        assert_eq!(found.folders, [Path::new("/srv/mine/flows"), Path::new("/srv/mine")]);
        assert_eq!(found.stopped_at.as_deref(), Some(Path::new("/srv")));
        let found = TrustedAncestors::walk_with(Path::new("/srv/mine/flows/flow.yml"), read, &[0]);
        assert_eq!(found, TrustedAncestors { folders: vec![], stopped_at: Some("/srv/mine/flows".into()) });
        let found = TrustedAncestors::walk_with(Path::new("/flow.yml"), read, &[ME, 0]);
        assert_eq!(found, TrustedAncestors { folders: vec!["/".into()], stopped_at: None });
    }

    #[test]
    fn first_untrusted_finds_a_folder_on_the_way_down_that_others_may_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::set_permissions(root.join("a/b"), Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(root.join("a"), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(first_untrusted(root, Path::new("a/b")), None);
        std::fs::set_permissions(root.join("a"), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(first_untrusted(root, Path::new("a/b")), Some(root.join("a")));
        assert_eq!(first_untrusted(root, Path::new("c")), Some(root.join("c")), "does not exist");
    }

    #[test]
    fn a_private_folder_is_created_and_one_that_others_can_access_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        create_private_folder(&own).unwrap();
        assert_eq!(own.metadata().unwrap().mode() & 0o777, 0o700);
        create_private_folder(&own).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(create_private_folder(&link).is_err(), "a link may point anywhere");
        std::fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        assert!(create_private_folder(&own).unwrap_err().to_string().contains("chmod 700"));
        let next = folder.path().join("next");
        assert_eq!(first_private_folder([own, link, next.clone()]).unwrap(), next);
    }

    #[test]
    fn private_files_are_neither_written_nor_read_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("file.json5"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(read_private_file(&path).is_err());
        write_private_file(&path, "text").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(read_private_file(&path).unwrap(), "text");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read_private_file(&path).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "no part file is left");
    }

    #[test]
    fn part_paths_are_unique() {
        let path = Path::new("/run/run.json");
        assert_ne!(unique_part_path(path), unique_part_path(path));
        assert_eq!(unique_part_path(path).parent(), path.parent());
    }

    #[test]
    fn the_user_of_the_peer_is_checked() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert!(is_peer_trusted(&socket));
        if cfg!(target_os = "linux") && effective_uid() != 0 {
            assert!(!is_peer_user_or_root(&socket, effective_uid() + 1));
        }
    }

    #[test]
    fn a_client_of_another_user_is_not_trusted() {
        use sideline_testkit::{Capability, skip_test};
        use std::{os::unix::process::CommandExt, process::Command};
        if effective_uid() != 0 || !cfg!(target_os = "linux") {
            let reason = "only root can start a process as another user, and only Linux reports the user of a peer";
            return skip_test(Capability::Machine, reason);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let client = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let child = Command::new("python3").args(["-c", client]).arg(&path).uid(OTHER_USER).current_dir("/").spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(cause) => return skip_test(Capability::Python, format_args!("python3: {cause}")),
        };
        let (socket, _) = listener.accept().unwrap();
        assert!(!is_peer_trusted(&socket));
        drop(socket);
        child.wait().unwrap();
    }

    #[test]
    fn only_a_socket_of_this_user_that_is_no_link_is_its_own() {
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
