package io.github.rerankd;

import java.util.regex.Pattern;

/** Where a server listens: a target of gRPC's. */
record Address(String target) {
  private static final Pattern SCHEME =
      Pattern.compile("(https?|grpcs?|tcp|wss?)://.*", Pattern.CASE_INSENSITIVE | Pattern.DOTALL);
  private static final Pattern LOCAL =
      Pattern.compile(
          "(dns:(///)?)?(127(\\.\\d+){3}|\\[::1]|localhost)(:\\d+)?|unix:.*",
          Pattern.CASE_INSENSITIVE);

  Address {
    var scheme = SCHEME.matcher(target);
    if (scheme.matches()) {
      throw new IllegalArgumentException(
          "address \"%s\": give host:port or unix:/path, without %s://; TLS is an option of the client"
              .formatted(target, scheme.group(1)));
    }
  }

  /** Whether it is on this machine. A name that only begins like one that is, is not. */
  boolean isLocal() {
    return LOCAL.matcher(target).matches();
  }
}
