//! Questions: what somebody is asked who starts a node at a terminal without saying where it is to listen.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use super::render;
use super::secret::{Restore, ask_shown};
use crate::command::off_reactor;
use crate::node::StunServer;

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Where the node is to listen.
    pub(crate) listen: SocketAddr,
    /// Who is to say where it is seen from outside; `None`: nobody but the supernode, or who was given before.
    pub(crate) stun: Option<StunServer>,
}

/// Whether to ask who says where the node is seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublicAddress {
    /// It was not given.
    Ask,
    /// It was.
    Given,
}

/// What the first question begins with.
const INTRODUCTION: &str = "Where is this node to listen? Enter takes what stands in brackets.\n";

/// Asks at the terminal, again where an answer will not do; `None` where the person would rather leave (Ctrl-D).
pub(crate) async fn ask(public: PublicAddress) -> io::Result<Option<Answers>> {
    let _restore = Restore::new();
    let mut question = Question::Address;
    let mut text = format!("{INTRODUCTION}{}", question.prompt());
    loop {
        let Some(line) = off_reactor(move || ask_shown(&text)).await? else {
            let _terminal_gone = io::stderr().write_all(b"\n");
            return Ok(None);
        };
        text = match question.answered(line.trim(), public, can_listen) {
            Ok(Step::Ask(next)) => {
                question = next;
                question.prompt().to_owned()
            }
            Ok(Step::Done(answers)) => return Ok(Some(answers)),
            Err(why) => format!("{}\n{}", render::visible(&why), question.prompt()),
        };
    }
}

/// What is asked next, with what was answered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Address,
    Port(IpAddr),
    Public(SocketAddr),
}

/// What follows an answer.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Ask(Question),
    Done(Answers),
}

impl Question {
    const fn prompt(self) -> &'static str {
        match self {
            Self::Address => "Address [all of this machine's]: ",
            Self::Port(_) => "Port [a free one]: ",
            Self::Public(_) => "STUN server that says the public address, HOST:PORT [none, the supernode says it]: ",
        }
    }

    /// What follows this answer; or why it will not do, in a sentence.
    fn answered(
        self,
        answer: &str,
        public: PublicAddress,
        can_listen: impl Fn(SocketAddr) -> Result<(), String>,
    ) -> Result<Step, String> {
        match self {
            Self::Address => {
                let (ip, port) = parse_address(answer)?;
                can_listen(SocketAddr::new(ip, port.unwrap_or(0)))?;
                Ok(port.map_or(Step::Ask(Self::Port(ip)), |port| listening(SocketAddr::new(ip, port), public)))
            }
            Self::Port(ip) => {
                let port = match answer {
                    "" => 0,
                    _ => answer.parse().map_err(|_not_a_port| {
                        format!("`{answer}` is not a port: a number from 1 to 65535, or 0 or just Enter for a free one")
                    })?,
                };
                let listen = SocketAddr::new(ip, port);
                can_listen(listen)?;
                Ok(listening(listen, public))
            }
            Self::Public(listen) => match answer.to_lowercase().as_str() {
                "" | "n" | "no" | "none" => Ok(Step::Done(Answers { listen, stun: None })),
                "y" | "yes" => Err("Which one? Any STUN server that others can reach too, or just Enter.".to_owned()),
                _ => match answer.parse() {
                    Ok(server) => Ok(Step::Done(Answers { listen, stun: Some(server) })),
                    Err(error) => Err(format!("`{answer}` is {error}")),
                },
            },
        }
    }
}

/// It is known where to listen. Who listens on this machine only has no public address.
fn listening(listen: SocketAddr, public: PublicAddress) -> Step {
    match public {
        PublicAddress::Ask if !listen.ip().is_loopback() => Step::Ask(Question::Public(listen)),
        PublicAddress::Ask | PublicAddress::Given => Step::Done(Answers { listen, stun: None }),
    }
}

/// An address, with the port that may stand behind it; a port alone is for all addresses.
fn parse_address(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    const ALL: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    match text {
        "" => Ok((ALL, None)),
        "localhost" => Ok((IpAddr::from([127, 0, 0, 1]), None)),
        _ => match (text.trim_matches(['[', ']']).parse(), text.trim_start_matches(':').parse()) {
            (Ok(ip), _) => Ok((ip, None)),
            (_, Ok(port)) => Ok((ALL, Some(port))),
            (Err(_), Err(_)) => Err(format!(
                "`{text}` is no address of this machine: an IP address such as 192.168.1.5, 127.0.0.1 for this machine \
                 only, or just Enter for all"
            )),
        },
    }
}

/// Whether one can listen there. Where somebody does already one may join him.
fn can_listen(address: SocketAddr) -> Result<(), String> {
    match UdpSocket::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => Ok(()),
            io::ErrorKind::AddrNotAvailable => {
                Err(format!("{} is no address of this machine; just Enter takes all that it has", address.ip()))
            }
            io::ErrorKind::PermissionDenied => {
                Err(format!("Port {} is not for everybody; take one from 1024, or just Enter", address.port()))
            }
            _ => Err(format!("{address} will not do: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of answers given one after the other, on a machine where nobody may listen below 1024 or at 10.0.0.9.
    fn answered(public: PublicAddress, lines: &[&str]) -> Result<Step, String> {
        let can_listen = |address: SocketAddr| match address.to_string().as_str() {
            "[::]:80" | "10.0.0.9:0" => Err("no".to_owned()),
            _ => Ok(()),
        };
        let mut question = Question::Address;
        for (place, line) in lines.iter().enumerate() {
            match question.answered(line, public, can_listen)? {
                Step::Ask(next) => question = next,
                done @ Step::Done(_) => {
                    assert_eq!(place + 1, lines.len(), "{lines:?}");
                    return Ok(done);
                }
            }
        }
        Ok(Step::Ask(question))
    }

    #[test]
    fn enter_takes_all_addresses_a_free_port_and_nobody_is_asked() {
        for (lines, listen) in [
            (&["", "", ""][..], "[::]:0"),
            (&["", "4000", "no"], "[::]:4000"),
            (&["4000", "n"], "[::]:4000"),
            (&["192.168.1.5", "0", ""], "192.168.1.5:0"),
            (&["192.168.1.5:4000", ""], "192.168.1.5:4000"),
            (&["[2001:db8::7]:4000", ""], "[2001:db8::7]:4000"),
        ] {
            let done = Step::Done(Answers { listen: listen.parse().unwrap(), stun: None });
            assert_eq!(answered(PublicAddress::Ask, lines), Ok(done), "{lines:?}");
        }
    }

    #[test]
    fn the_public_address_is_asked_for_where_there_may_be_one() {
        let server = "stun.example.org:3478";
        let listen = "[::]:0".parse().unwrap();
        let done = |listen, stun| Ok(Step::Done(Answers { listen, stun }));
        assert_eq!(answered(PublicAddress::Ask, &["", "", server]), done(listen, server.parse().ok()));
        assert_eq!(answered(PublicAddress::Given, &["", ""]), done(listen, None));
        let local = "127.0.0.1:0".parse().unwrap();
        for lines in [&["127.0.0.1", ""][..], &["localhost", ""]] {
            assert_eq!(answered(PublicAddress::Ask, lines), done(local, None));
        }
    }

    #[test]
    fn bad_answers_are_explained() {
        for (lines, part) in [
            (&["lab"][..], "`lab` is no address"),
            (&["1.2.3"], "just Enter for all"),
            (&["70000"], "`70000` is no address"),
            (&["10.0.0.9"], "no"),
            (&["", "80"], "no"),
            (&["", "x"], "a number from 1 to 65535"),
            (&["", "65536"], "a number from 1 to 65535"),
            (&["", "", "yes"], "Which one?"),
            (&["", "", "a b"], "`a b` is not HOST:PORT"),
        ] {
            let why = answered(PublicAddress::Ask, lines).unwrap_err();
            assert!(why.contains(part), "{lines:?}: {why}");
        }
    }
}
