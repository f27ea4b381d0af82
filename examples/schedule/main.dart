import 'dart:async';
import 'dart:convert';
import 'dart:io';

/// How long requests under way may take after SIGTERM; ten seconds after it the process is ended.
const Duration finishWithin = Duration(seconds: 8);

/// As many runs are remembered, to know one that is delivered a second time.
const int runsRememberedMax = 1000;

/// Runs a job for each event of its schedule, which arrives as `POST` with CloudEvents headers.
Future<void> main() async {
  final port = int.parse(Platform.environment['PORT'] ?? '8080');
  final runs = Runs();
  final server = await HttpServer.bind(InternetAddress.anyIPv4, port);

  print('listening on port $port');
  await serve(server, (request) => answer(request, runs));
  exit(0);
}

/// The job itself: put yours here.
Future<String> job(String scheduledFor) async {
  print('the run for $scheduledFor');
  return 'done for $scheduledFor';
}

/// What ran already, by the events' ids: a schedule delivers at least once, the job should run once.
class Runs {
  final Map<String, Future<String>> _byId = {};

  int get count => _byId.length;

  /// The result of the event's run, begun now unless it was begun before. One that failed may be tried again.
  Future<String> once(String id, Future<String> Function() job) {
    final known = _byId[id];
    if (known != null) {
      return known;
    }
    if (_byId.length >= runsRememberedMax) {
      unawaited(_byId.remove(_byId.keys.first));
    }
    final run = job();
    _byId[id] = run;
    unawaited(run.then<void>((_) {}, onError: (Object _) => forget(id)));
    return run;
  }

  void forget(String id) {
    _byId.removeWhere((known, _) => known == id);
  }
}

Future<void> answer(HttpRequest request, Runs runs) async {
  await request.drain<void>();
  final id = runId(request);
  switch ((request.method, id)) {
    case ('GET', _):
      await reply(request, HttpStatus.ok, {'runs': runs.count});
    case ('POST', final String id):
      await run(request, runs, id);
    case ('POST', null):
      await reply(request, HttpStatus.badRequest, {'detail': 'An event of a schedule says which run it is about.'});
    case _:
      await reply(request, HttpStatus.methodNotAllowed, {'detail': 'Send GET, or an event by POST.'});
  }
}

/// What tells a run from every other, and stays when it is delivered again: the event's id, and on Google Cloud, whose
/// scheduler sends the same event each time, when it was due.
String? runId(HttpRequest request) =>
    request.headers.value('ce-id') ?? request.headers.value('x-cloudscheduler-scheduletime');

Future<void> run(HttpRequest request, Runs runs, String id) async {
  final scheduledFor = request.headers.value('ce-time') ?? id;
  final String result;
  try {
    result = await runs.once(id, () => job(scheduledFor));
  } on Exception catch (error) {
    stderr.writeln('the run $id failed: $error');
    // The schedule delivers an event again that was answered like this.
    return reply(request, HttpStatus.internalServerError, {'detail': 'The run failed.'});
  }
  return reply(request, HttpStatus.ok, {'result': result});
}

Future<void> reply(HttpRequest request, int status, Map<String, Object> body) async {
  request.response.statusCode = status;
  request.response.headers.contentType = ContentType.json;
  request.response.writeln(jsonEncode(body));
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
