/// As much of package:shelf/shelf_io.dart as the example uses.
library;

import 'dart:io';

import 'shelf.dart';

Future<void> handleRequest(
  HttpRequest request,
  Handler handler, {
  String? poweredByHeader = 'Dart with package:shelf',
}) async {
  Response response;
  try {
    response = await handler(Request(request.method, request.requestedUri, body: request));
  } catch (error) {
    stderr.writeln('Error thrown by handler.\n$error');
    response = Response(500);
  }
  request.response.statusCode = response.statusCode;
  response.headers.forEach(request.response.headers.set);
  request.response.contentLength = response.contentLength;
  await request.response.addStream(response.read());
  await request.response.close();
}
