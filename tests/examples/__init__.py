"""The examples, compiled and run by the stand-in Dart VM."""
