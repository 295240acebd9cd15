//! Reading a device's configuration, which is a structure of bytes.

/// Fills `data` from `structure` at `offset`; what lies beyond its end is zero.
pub(super) fn read(structure: &[u8], offset: u64, data: &mut [u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = structure.get(start..).unwrap_or(&[]);
    data.fill(0);
    for (byte, value) in data.iter_mut().zip(rest) {
        *byte = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_end_is_zero() {
        let mut data = [0xff; 4];
        read(&[1, 2, 3], 1, &mut data);
        assert_eq!(data, [2, 3, 0, 0]);
        read(&[1, 2, 3], u64::MAX, &mut data);
        assert_eq!(data, [0; 4]);
    }
}
