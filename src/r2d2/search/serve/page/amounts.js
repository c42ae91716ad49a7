// Amounts as people read them.

export const megabytes = (bytes) => Number((bytes / (1 << 20)).toPrecision(3));
