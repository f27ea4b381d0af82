import 'dart:async';
import 'dart:io';

const String greetingDefault = 'Hello';

/// Answers `/` with a greeting; `?name=` says whom to greet, the variable GREETING says how.
Future<void> main() async {
  final environment = Platform.environment;
  final port = int.parse(environment['PORT'] ?? '8080');
  final greeting = environment['GREETING'] ?? greetingDefault;
  final server = await HttpServer.bind(InternetAddress.anyIPv4, port);

  stopOnSignal(server);
  print('listening on port $port');
  await for (final request in server) {
    unawaited(answer(request, greeting));
  }
}

/// Takes no new requests after SIGTERM, lets those under way finish, and ends the program.
void stopOnSignal(HttpServer server) {
  ProcessSignal.sigterm.watch().listen((_) async {
    await Future.any<void>([server.close(), Future<void>.delayed(const Duration(seconds: 5))]);
    exit(0);
  });
}

Future<void> answer(HttpRequest request, String greeting) async {
  final name = request.uri.queryParameters['name'] ?? 'world';
  request.response.headers.contentType = ContentType.text;
  request.response.writeln('$greeting, $name!');
  await request.response.close();
}
