slices();
confusions();
attributes();
mistakes();
changes();
searchMap();
