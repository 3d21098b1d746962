//! `preview`: shows frames in the browser while a run is on, and never holds one up.
//!
//! `sideline run FLOW --preview` adds it to a flow. A flow may name it too, also for dora:
//!
//! ```yaml
//!   - id: preview
//!     path: sideline
//!     args: run preview
//!     inputs:
//!       frames: {source: render/overlay, queue_policy: drop_oldest, queue_size: 1}
//!     outputs: [done]      # read by the source, as `done_preview`, where the flow runs in `complete` mode
//! ```
//!
//! What `process` does is put the newest frame where viewers find it. A JPEG
//! is made of it on the server's own thread, once for all who watch, and only while somebody does.
//!
//! | address | gives |
//! |---|---|
//! | `/` | a page with every stream |
//! | `/stream/NAME` | MJPEG: each part holds the newest frame |
//! | `/frame/NAME.jpg` | the newest frame |
//! | `/status` | names, frames, rates and latencies as JSON |
#![forbid(unsafe_code)]

mod pictures;
mod server;

use std::{io::Write, net::TcpListener, sync::Arc};

use sideline_api::{
    Body, Config, Context, Error, Inputs, Message, Mode, Operator, Outputs, Payload, PortType, Resources, Result, Spec,
    WiredInput,
};

use crate::{
    pictures::{Look, Pictures},
    server::{About, Server},
};

/// Shows frames in the browser while the run is on; it never delays one.
#[derive(Clone, Debug, Config)]
pub struct PreviewConfig {
    /// Port on 127.0.0.1; 0 takes any that is free. The address is printed.
    #[config(default = 8090)]
    pub port: u16,
    /// Most pictures a second for each who watches. Higher is smoother and takes more CPU while somebody does.
    #[config(default = 15.0, live, range(0.1, 240.0))]
    pub fps: f64,
    /// Quality of the JPEGs. Higher looks better; lower is smaller.
    #[config(default = 75, live, range(1, 100))]
    pub quality: u32,
    /// Wider frames are scaled down to this, in pixels. Lower takes less CPU and less of a slow line.
    #[config(default = 1280, live, range(16, 16_384))]
    pub width: u32,
    /// The page's heading; by default the name of the run.
    #[config(default = String::new())]
    pub title: String,
}

impl PreviewConfig {
    fn look(&self) -> Look {
        Look { fps: self.fps, quality: self.quality, width: self.width }
    }
}

/// See the [crate](crate).
pub struct Preview {
    pictures: Arc<Pictures>,
    server: Server,
    /// With several inputs the name of each is part of its pictures' names.
    several: bool,
}

impl Operator for Preview {
    type Config = PreviewConfig;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("preview").any_inputs(PortType::Frame)
    }

    fn new(config: PreviewConfig, resources: &Resources) -> Result<Self> {
        let port = config.port;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::AddrInUse => Error::config(format!(
                "key `port`: 127.0.0.1:{port} is taken by another program, perhaps by another run; set another one, or 0 for \
                 any that is free (`--preview=0`)"
            )),
            std::io::ErrorKind::PermissionDenied => Error::config(format!(
                "key `port`: 127.0.0.1:{port} may not be opened by this user; set one from 1024 on, or 0 for any that is free"
            )),
            _ => Error::output(format!("key `port`: 127.0.0.1:{port} cannot be opened: {cause}")),
        })?;
        let pictures = Arc::new(Pictures::new(config.look()));
        let title = if config.title.is_empty() { resources.run.clone() } else { config.title };
        let live = resources.mode == Mode::Live;
        let server = Server::start(listener, pictures.clone(), About { title, run: resources.run.clone(), live })?;
        // Under dora this stands in the node's log; a person reads it, whatever the level of the log is.
        // Where nobody can read it any more, the preview is still there.
        let _ = writeln!(std::io::stderr(), "{}: http://{}/", resources.node, server.address());
        Ok(Self { pictures, server, several: resources.inputs.len() > 1 })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        for (port, message) in input.all() {
            self.put(cx, port, message);
        }
        for (port, messages) in input.all_side() {
            self.put(cx, port, messages.last());
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &PreviewConfig) -> Result<()> {
        self.pictures.set_look(config.look());
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        self.pictures.ended(&cx.header.stream);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.server.stop();
        Ok(())
    }
}

impl Preview {
    fn put(&self, cx: &Context, port: &WiredInput, message: Option<&Message>) {
        let Some(Message { header, body: Body::Data(Payload::Frame(frame)), .. }) = message else { return };
        let name = if self.several && *port.name != *header.stream {
            format!("{}.{}", port.name, header.stream)
        } else {
            header.stream.to_string()
        };
        self.pictures.put(&name, header, frame, cx.now());
    }
}
