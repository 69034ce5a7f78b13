//! curl from nginx over TLS 1.3: the fastest that is commonly at hand, and it checks nothing. With `openssl dgst` behind a
//! pipe it checks as much as one sum over the file can.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use harness::process::{Launch, Process, run};
use harness::wait::wait_until;

use super::{Absent, Arena, Contestant, LIMIT, Round, free_port, installed, used_since};

/// Whether curl's bytes are hashed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// `curl -o FILE`
    Not,
    /// `curl | tee FILE | openssl dgst -sha256`
    Sha256,
}

/// nginx, and a curl each round.
#[derive(Debug)]
pub(crate) struct Curl {
    nginx: Process,
    url: String,
    checked: Checked,
    log: PathBuf,
}

impl Curl {
    pub(crate) fn start(arena: &Arena, checked: Checked) -> io::Result<Result<Self, Absent>> {
        if let Err(absent) = installed(&[("nginx", "-v"), ("curl", "--version"), ("openssl", "version")]) {
            return Ok(Err(absent));
        }
        let dir = arena.corner(match checked {
            Checked::Not => "curl",
            Checked::Sha256 => "curl-openssl",
        })?;
        let port = free_port()?;
        make_certificate(&dir)?;
        let config = dir.join("nginx.conf");
        fs::write(&config, nginx_config(&dir, &arena.dir().join("served"), port))?;
        let nginx =
            Launch::new("nginx").args([Path::new("-c"), &config, Path::new("-p"), &dir]).start(&dir.join("nginx"));
        wait_until(LIMIT, "nginx to listen", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        let url = format!("https://127.0.0.1:{port}/file.bin");
        Ok(Ok(Self { nginx, url, checked, log: dir.join("curl-log") }))
    }

    fn launch(&self, output: &Path) -> Launch {
        match self.checked {
            Checked::Not => Launch::new("curl").args(["-ksf", &self.url, "-o"]).args([output]),
            Checked::Sha256 => {
                let pipe = format!("curl -ksf {} | tee '{}' | openssl dgst -sha256", self.url, output.display());
                Launch::new("sh").args(["-c", &pipe])
            }
        }
    }
}

impl Contestant for Curl {
    fn name(&self) -> String {
        match self.checked {
            Checked::Not => "curl from nginx, TLS, unchecked".to_owned(),
            Checked::Sha256 => "curl from nginx, TLS, tee, openssl dgst".to_owned(),
        }
    }

    fn round(&mut self, output: &Path) -> Round {
        let before = self.nginx.tree_usage();
        let ended = self.launch(output).start(&self.log).wait(LIMIT);
        assert!(ended.status.success(), "curl ended with {}", ended.status);
        Round { wall: ended.elapsed, seeder: used_since(&mut self.nginx, before), downloader: ended.usage }
    }
}

fn make_certificate(dir: &Path) -> io::Result<()> {
    let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
    let (key, certificate) = (key.to_string_lossy(), certificate.to_string_lossy());
    let new_key =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", &key];
    let rest = ["-out", &certificate, "-days", "30", "-subj", "/CN=localhost"];
    run("openssl", &[new_key.as_slice(), &rest].concat()).map(drop)
}

/// One worker, as nginx has it by default; started as root it must stay root to read a private directory.
fn nginx_config(dir: &Path, root: &Path, port: u16) -> String {
    let (dir, root) = (dir.display(), root.display());
    let user = if harness::privilege::is_root() { "user root;" } else { "" };
    format!(
        "{user} daemon off; pid {dir}/nginx.pid; error_log stderr;
        events {{ }}
        http {{
            access_log off; sendfile on;
            client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
            uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_protocols TLSv1.3; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
                root {root};
            }}
        }}
        "
    )
}
