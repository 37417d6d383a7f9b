"""The data path: sources, the prepared dataset, who reads which rows in which order, batches on the device."""
