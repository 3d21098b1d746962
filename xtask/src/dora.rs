//! A dora of this program's own: coordinator and daemon on free ports, gone when this program is, however it ends.
//!
//! Not `dora up`: that shares its port and its store with every dora of the user, and a second one fails on the store.

use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    error::{About, Error, Result},
    house::House,
    process::{Group, stopping},
    progress::tail,
};

/// How long coordinator and daemon may take to find each other; on an idle machine it is under a second.
const READY: Duration = Duration::from_secs(30);
/// How long they may take to stop before they are killed.
const STOP: Duration = Duration::from_secs(10);

/// A running coordinator and daemon.
pub struct Dora {
    port: u16,
    down: Command,
    daemon: Group,
    coordinator: Group,
    watchdog: Child,
    stopped: bool,
}

impl Dora {
    /// Starts both and waits until flows can be started.
    ///
    /// # Errors
    /// When one does not start: the end of its log.
    pub fn start(house: &House) -> Result<Self> {
        let (port, local) = free_ports()?;
        let log = house.logs.join("dora.log");
        File::create(&log).about(log.display())?;
        let start = |arguments: &[&str]| -> Result<Group> {
            let file = File::options().append(true).open(&log).about(log.display())?;
            let mut command = dora(house, port);
            // dora leaves a folder `out` where it is started.
            command.current_dir(&house.logs).args(arguments);
            command.stdout(file.try_clone().about(log.display())?).stderr(file);
            Group::start(&mut command)
        };
        let (port_text, local) = (port.to_string(), local.to_string());
        let coordinator = start(&["coordinator", "--quiet", "--store", "memory", "--port", &port_text])?;
        let daemon = start(&["daemon", "--quiet", "--coordinator-port", &port_text, "--local-listen-port", &local])?;
        let down = || {
            let mut down = dora(house, port);
            down.current_dir(&house.logs).args(["down", "--force"]).stdout(Stdio::null()).stderr(Stdio::null());
            down
        };
        let watchdog = watchdog(&down(), &[daemon.id(), coordinator.id()])?;
        let mut dora = Dora { port, down: down(), daemon, coordinator, watchdog, stopped: false };
        dora.wait_until_ready(house, &log)?;
        Ok(dora)
    }

    /// The `dora` command, bound to this instance.
    pub fn command(&self, house: &House) -> Command {
        dora(house, self.port)
    }

    /// Stops flows, daemon and coordinator.
    pub fn stop(mut self) {
        self.end();
    }

    fn wait_until_ready(&mut self, house: &House, log: &Path) -> Result<()> {
        let start = Instant::now();
        loop {
            let status = self.command(house).arg("status").output().about("dora status")?;
            let said = String::from_utf8_lossy(&status.stdout);
            if status.status.success() && sideline_dora_texts::is_daemon_running(&said) {
                return Ok(());
            }
            let ended = self.coordinator.ended()?.is_some() || self.daemon.ended()?.is_some();
            if ended || start.elapsed() > READY {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(Error::new(format!(
                    "dora does not start; the end of {}:\n{}\nTo mend: remove .venv and run `cargo xtask setup`",
                    log.display(),
                    tail(&said)
                )));
            }
            if stopping() {
                return Err(Error::interrupted("starting dora"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        // Politely first; what is left is killed when the groups are dropped, and a killed daemon takes its nodes along.
        if let Ok(mut down) = Group::start(&mut self.down) {
            down.wait_for(STOP);
        }
        self.daemon.wait_for(STOP);
        self.coordinator.wait_for(STOP);
        // Before their ids can belong to others.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

impl Drop for Dora {
    fn drop(&mut self) {
        self.end();
    }
}

fn dora(house: &House, port: u16) -> Command {
    let mut command = house.command(house.venv("dora"));
    // A coordinator elsewhere that the user's shell names must not be meant.
    command.env("DORA_COORDINATOR_ADDR", "127.0.0.1").env("DORA_COORDINATOR_PORT", port.to_string());
    command.env_remove("DORA_COORDINATOR_INTERFACE");
    command
}

/// Runs `down` and kills these process groups when this program dies without having done so: its end of the pipe closes then.
fn watchdog(down: &Command, groups: &[u32]) -> Result<Child> {
    let script = "trap '' INT HUP TERM; read -r _; groups=$1; shift; \"$@\"; for group in $groups; do kill -s KILL -- -$group; done";
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sideline-watchdog", &groups.join(" ")]).arg(down.get_program()).args(down.get_args());
    for (key, value) in down.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.current_dir(down.get_current_dir().unwrap_or(Path::new("/")));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().about("cannot start sh")
}

/// Two ports that nobody listens on now.
fn free_ports() -> Result<(u16, u16)> {
    let listen = || TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr().map(|a| (l, a.port())));
    let (first, second) = (listen().about("no free port")?, listen().about("no free port")?);
    Ok((first.1, second.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_asks_and_then_kills_when_its_pipe_closes() {
        let mut guarded = Group::start(Command::new("sleep").arg("1000")).unwrap();
        let asked = std::env::temp_dir().join(format!("xtask-asked-{}", std::process::id()));
        let mut down = Command::new("touch");
        down.arg(&asked);
        let mut watchdog = watchdog(&down, &[guarded.id()]).unwrap();
        drop(watchdog.stdin.take());
        let status = guarded.wait().unwrap();
        watchdog.wait().unwrap();
        std::fs::remove_file(&asked).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_dora_of_our_own_is_ready_and_says_which_flow_it_starts() {
        let root = std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let folder = std::env::temp_dir().join(format!("xtask-dora-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let house = House { root, programs: folder.clone(), logs: folder.clone() };
        if !house.command(house.venv("dora")).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return sideline_testkit::skipped(
                sideline_testkit::Capability::Dora,
                "no .venv/bin/dora; `cargo xtask setup`",
            );
        }
        let dora = Dora::start(&house).unwrap();
        let flow = folder.join("flow.yml");
        std::fs::write(&flow, "nodes: [{id: a, path: /bin/true}]\n").unwrap();
        let output = dora.command(&house).args(["start", "--attach"]).arg(&flow).output().unwrap();
        dora.stop();
        std::fs::remove_dir_all(&folder).unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(said.lines().any(|line| sideline_dora_texts::dataflow_id(line).is_some()), "{said}");
    }

    #[test]
    fn ports_differ() {
        let (first, second) = free_ports().unwrap();
        assert_ne!(first, second);
    }
}
