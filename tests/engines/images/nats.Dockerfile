# nats:2.14-alpine
FROM base
COPY nats-server /usr/local/bin/
RUN ln -s /bin/busybox /usr/local/bin/wget
ENTRYPOINT ["nats-server"]
