slices();
confusions();
attributes();
mistakes();
changes();
