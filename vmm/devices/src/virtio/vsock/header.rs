//! The header of a vsock packet (`struct virtio_vsock_hdr`, virtio 1.2 §5.10.6).

/// Kinds of packets.
pub mod op {
    /// Opens a connection.
    pub const REQUEST: u16 = 1;
    /// Accepts one.
    pub const RESPONSE: u16 = 2;
    /// Refuses or ends one.
    pub const RST: u16 = 3;
    /// Announces that there will be no more data in a direction.
    pub const SHUTDOWN: u16 = 4;
    /// Carries data.
    pub const RW: u16 = 5;
    /// Tells how much room there is.
    pub const CREDIT_UPDATE: u16 = 6;
    /// Asks for that.
    pub const CREDIT_REQUEST: u16 = 7;
}

/// The type of stream connections, the only one here.
pub const TYPE_STREAM: u16 = 1;
/// Flag of a `SHUTDOWN`: the sender will not receive.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// Flag of a `SHUTDOWN`: the sender will not send.
pub const SHUTDOWN_SEND: u32 = 2;

/// A packet without its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Who sends it.
    pub src_cid: u64,
    /// To whom.
    pub dst_cid: u64,
    /// From which port.
    pub src_port: u32,
    /// To which.
    pub dst_port: u32,
    /// Length of the payload.
    pub len: u32,
    /// Type of the connection.
    pub socket_type: u16,
    /// Kind of the packet, see [`op`].
    pub op: u16,
    /// Depends on `op`.
    pub flags: u32,
    /// Total room for received data at the sender.
    pub buf_alloc: u32,
    /// Bytes the sender has passed on so far.
    pub fwd_cnt: u32,
}

impl Header {
    /// Length on the wire.
    pub const SIZE: usize = 44;

    /// Reads a header.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            src_cid: u64::from_le_bytes(fields.next()),
            dst_cid: u64::from_le_bytes(fields.next()),
            src_port: u32::from_le_bytes(fields.next()),
            dst_port: u32::from_le_bytes(fields.next()),
            len: u32::from_le_bytes(fields.next()),
            socket_type: u16::from_le_bytes(fields.next()),
            op: u16::from_le_bytes(fields.next()),
            flags: u32::from_le_bytes(fields.next()),
            buf_alloc: u32::from_le_bytes(fields.next()),
            fwd_cnt: u32::from_le_bytes(fields.next()),
        }
    }

    /// Writes a header.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend(self.src_cid.to_le_bytes());
        bytes.extend(self.dst_cid.to_le_bytes());
        bytes.extend(self.src_port.to_le_bytes());
        bytes.extend(self.dst_port.to_le_bytes());
        bytes.extend(self.len.to_le_bytes());
        bytes.extend(self.socket_type.to_le_bytes());
        bytes.extend(self.op.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.buf_alloc.to_le_bytes());
        bytes.extend(self.fwd_cnt.to_le_bytes());
        bytes.try_into().expect("the fields are 44 bytes long")
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .expect("the fields are 44 bytes long");
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_lie_where_the_specification_says() {
        let mut bytes = [0; Header::SIZE];
        bytes[0] = 3;
        bytes[8] = 2;
        bytes[24] = 5;
        bytes[30] = 7;
        bytes[43] = 1;
        let header = Header::from_bytes(&bytes);
        assert_eq!((header.src_cid, header.dst_cid), (3, 2));
        assert_eq!((header.len, header.op, header.fwd_cnt), (5, 7, 1 << 24));
    }

    proptest! {
        #[test]
        fn a_header_survives_the_wire(bytes in proptest::collection::vec(any::<u8>(), 44)) {
            let whole: [u8; Header::SIZE] = bytes.try_into().unwrap();
            prop_assert_eq!(Header::from_bytes(&whole).to_bytes(), whole);
        }
    }
}
