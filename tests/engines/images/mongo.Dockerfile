# mongo:7
FROM base
COPY node mongod /usr/local/bin/
COPY mongosh /opt/mongosh/node_modules
RUN mkdir -p /data/db && ln -s /opt/mongosh/node_modules/.bin/mongosh /usr/local/bin/mongosh
VOLUME /data/db
