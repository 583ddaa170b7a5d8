/** Hexadecimal addresses in bytes of text: a digit's value by its code, 16 for all that is none. */
export const HEX: Uint8Array = Uint8Array.from({ length: 256 }, (_, code) => {
  const digit = Number.parseInt(String.fromCharCode(code), 16);
  return Number.isNaN(digit) || code > 127 ? 16 : digit;
});

/** High words of addresses: a program's are below the first, the kernel's from the second on; between them none is canonical. */
export const USER_HIGH: number = 2 ** 20;
export const KERNEL_HIGH = 0xff000000;
