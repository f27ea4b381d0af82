import 'dart:async';
import 'dart:convert';
import 'dart:io';
import 'dart:typed_data';

final List<Uint8List> eaten = [];
final List<Map<String, Object>> calls = [];

/// Tells this process from any other: in namespaces of their own, all have the same number.
final int born = DateTime.now().microsecondsSinceEpoch;

/// A function that does whatever a test asks of it.
Future<void> main() async {
  final port = int.parse(Platform.environment['PORT']!);
  final server = await HttpServer.bind('0.0.0.0', port);
  ProcessSignal.sigterm.watch().listen((_) async {
    await server.close();
    exit(0);
  });
  print('probe listens');
  await for (final request in server) {
    unawaited(answer(request).catchError((Object error) => print('a request failed: $error')));
  }
}

Future<void> answer(HttpRequest request) async {
  final response = request.response;
  if (request.method == 'POST' && request.uri.path == '/') return called(request);
  final number = int.parse(request.uri.queryParameters['n'] ?? '0');
  switch (request.uri.path) {
    case '/environment':
      response.write(jsonEncode(Platform.environment));
    case '/request':
      final headers = <String, String>{};
      request.headers.forEach((name, values) => headers[name] = values.join(','));
      response.headers.set('x-answer', 'yes');
      response.statusCode = 418;
      response.write(jsonEncode({'method': request.method, 'uri': '${request.uri}', 'headers': headers}));
    case '/calls':
      response.write(jsonEncode(calls));
    case '/answer':
      response.statusCode = number;
    case '/echo':
      await response.addStream(request);
    case '/count':
      response.write(await request.fold<int>(0, (size, chunk) => size + chunk.length));
    case '/stream':
      response.bufferOutput = false;
      for (var line = 0; line < number; line++) {
        response.writeln('line $line');
        await response.flush();
        await Future<void>.delayed(const Duration(milliseconds: 100));
      }
    case '/slow':
      await Future<void>.delayed(Duration(milliseconds: number));
      response.write('slept');
    case '/crash':
      stderr.writeln('about to crash');
      exit(number);
    case '/break':
      final socket = await response.detachSocket(writeHeaders: false);
      socket.destroy();
      return;
    case '/eat':
      eaten.add(Uint8List(number * 1024 * 1024)..fillRange(0, number * 1024 * 1024, 1));
      response.write('ate');
    case '/connect':
      try {
        (await Socket.connect(request.uri.queryParameters['host'], number, timeout: const Duration(seconds: 2))).destroy();
        response.write('reached');
      } on SocketException {
        response.write('not reached');
      }
    case '/fetch':
      final client = HttpClient();
      final got = await (await client.getUrl(Uri.parse(request.uri.queryParameters['url']!))).close();
      response.write('${got.statusCode} ${await utf8.decodeStream(got)}');
      client.close();
    case '/born':
      response.write('$born');
    default:
      response.write(Platform.environment['ANSWER'] ?? 'here');
  }
  await response.close();
}

/// A call of the service itself: its body says what to do about it.
Future<void> called(HttpRequest request) async {
  final body = await utf8.decodeStream(request);
  final headers = <String, String>{};
  request.headers.forEach((name, values) => headers[name] = values.join(','));
  calls.add({'headers': headers, 'body': body});
  final wanted = jsonDecode(body) as Map<String, Object?>;
  await Future<void>.delayed(Duration(milliseconds: wanted['sleep'] as int? ?? 0));
  if (wanted['break'] == true) {
    (await request.response.detachSocket(writeHeaders: false)).destroy();
    return;
  }
  request.response.statusCode = wanted['status'] as int? ?? 204;
  await request.response.close();
}
