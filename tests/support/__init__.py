"""What tests are run with: settings' environment, databases, child processes, tools."""
