//! TUN devices: network interfaces whose packets this process reads and writes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::ioctl::{Setter, ioctl, opcode};

/// A TUN device; gone when dropped. A read gives one IP packet, a write takes one, neither waits.
#[derive(Debug)]
pub(super) struct Tun {
    file: File,
}

/// `struct ifreq` of `linux/if.h`, as far as TUNSETIFF reads it.
#[repr(C)]
#[derive(Debug)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; REST_BYTES],
}

const NAME_BYTES: usize = 16;
/// The union behind the name has 24 bytes on 64-bit systems.
const REST_BYTES: usize = 22;
/// IP packets, without Ethernet (`linux/if_tun.h`).
const IFF_TUN: u16 = 0x0001;
/// Without a header of four bytes before each packet.
const IFF_NO_PI: u16 = 0x1000;
/// `_IOW('T', 202, int)`: the kernel declares an `int` and reads a `struct ifreq`.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);

impl Tun {
    /// Makes a device of this name, of at most 15 bytes, in the network namespace that this thread is in.
    ///
    /// Without `IFF_VNET_HDR` the kernel cuts what TCP and UDP hand down in large pieces before it comes here, and works
    /// out all checksums.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = open("/dev/net/tun", flags, Mode::empty())?;
        let mut request = InterfaceRequest { name: [0; NAME_BYTES], flags: IFF_TUN | IFF_NO_PI, rest: [0; REST_BYTES] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        #[expect(unsafe_code, reason = "there is no safe call for TUNSETIFF")]
        // SAFETY: TUNSETIFF reads a `struct ifreq`, whose size and layout `InterfaceRequest` has, and keeps no pointer.
        unsafe {
            ioctl(&device, Setter::<TUNSETIFF, InterfaceRequest>::new(request))?;
        }
        Ok(Self { file: device.into() })
    }

    /// The next packet, in `buffer`; `None` if there is none now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a packet to the kernel.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
