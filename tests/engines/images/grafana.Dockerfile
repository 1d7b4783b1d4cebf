# grafana/grafana:12.1.0
# No package registry carries Grafana: this server only listens.
FROM base
RUN install -d -o 472 /var/lib/grafana
USER 472
CMD ["busybox", "httpd", "-f", "-p", "3000"]
