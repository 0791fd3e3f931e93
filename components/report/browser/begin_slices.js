slices();
