/// As much of package:shelf as the example uses, with the signatures of its version 1.4: the stand-in VM resolves no packages.
library;

import 'dart:async';
import 'dart:convert';

typedef Handler = FutureOr<Response> Function(Request request);
typedef Middleware = Handler Function(Handler innerHandler);

class Request {
  Request(this.method, this.requestedUri, {Stream<List<int>>? body})
      : _body = body ?? const Stream.empty(),
        url = Uri(path: requestedUri.path.replaceFirst('/', ''), query: requestedUri.hasQuery ? requestedUri.query : null);

  final String method;
  final Uri requestedUri;
  final Uri url;
  final Stream<List<int>> _body;

  Stream<List<int>> read() => _body;
}

class Response {
  Response(this.statusCode, {Object? body, Map<String, Object>? headers})
      : _body = utf8.encode(body == null ? '' : body as String),
        headers = {for (final entry in (headers ?? const <String, Object>{}).entries) entry.key: '${entry.value}'};

  final int statusCode;
  final Map<String, String> headers;
  final List<int> _body;

  int get contentLength => _body.length;

  Stream<List<int>> read() => Stream.value(_body);
}

class Pipeline {
  const Pipeline();

  Pipeline addMiddleware(Middleware middleware) => _Pipeline(this, middleware);

  Handler addHandler(Handler handler) => handler;
}

class _Pipeline extends Pipeline {
  const _Pipeline(this._parent, this._middleware);

  final Pipeline _parent;
  final Middleware _middleware;

  @override
  Handler addHandler(Handler handler) => _parent.addHandler(_middleware(handler));
}

Middleware logRequests({void Function(String message, bool isError)? logger}) => (inner) => inner;
