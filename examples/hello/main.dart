import 'dart:async';
import 'dart:io';

/// How long requests under way may take after SIGTERM; ten seconds after it the process is ended.
const Duration finishWithin = Duration(seconds: 8);

/// Answers every request with a greeting: `?name=` says whom to greet, the variable GREETING says how.
Future<void> main() async {
  final environment = Platform.environment;
  final port = int.parse(environment['PORT'] ?? '8080');
  final greeting = environment['GREETING'] ?? 'Hello';
  final server = await HttpServer.bind(InternetAddress.anyIPv4, port);

  print('listening on port $port');
  await serve(server, (request) => greet(request, greeting));
  exit(0);
}

Future<void> greet(HttpRequest request, String greeting) async {
  final name = request.uri.queryParameters['name'] ?? 'world';
  request.response.headers.contentType = ContentType.text;
  request.response.writeln('$greeting, $name!');
  await request.response.close();
}

/// Answers requests until SIGTERM, then waits for those under way.
Future<void> serve(HttpServer server, Future<void> Function(HttpRequest) answer) async {
  final underWay = <Future<void>>{};
  final stopping = ProcessSignal.sigterm.watch().listen((_) => unawaited(server.close()));

  await for (final request in server) {
    final answered = attempt(request, answer);
    underWay.add(answered);
    unawaited(answered.whenComplete(() => underWay.remove(answered)));
  }
  await Future.wait(underWay).timeout(finishWithin, onTimeout: () => const []);
  await stopping.cancel();
}

/// A caller who leaves before the end fails one request, not the server.
Future<void> attempt(HttpRequest request, Future<void> Function(HttpRequest) answer) async {
  try {
    await answer(request);
  } on Exception catch (error) {
    stderr.writeln('${request.method} ${request.uri.path}: $error');
  }
}
