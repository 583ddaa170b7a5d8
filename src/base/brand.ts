declare const brand: unique symbol;
/** A number that says what it counts. Erased at run time. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
